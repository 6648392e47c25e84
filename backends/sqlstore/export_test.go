package sqlstore

// SetClock makes s judge by the time that an SQL expression has.
func SetClock(s *Store, expression string) { s.setClock(expression) }

// Claims is the name of the store's table.
func Claims(s *Store) string { return s.claims() }
