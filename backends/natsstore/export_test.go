package natsstore

import "time"

// SendAgainAfter makes s send again what was not answered for d.
func (s *Store) SendAgainAfter(d time.Duration) *Store {
	s.silence = d
	return s
}
