package sqlstore

// SetClock makes s judge by the time that an SQL expression has.
func SetClock(s *Store, expression string) { s.setClock(expression) }

// Claims is the name of the store's table.
func Claims(s *Store) string { return s.claims() }

// UpdateText is the statement by which PostgreSQL updates a batch, and how many
// arguments it has.
func UpdateText(s *Store) (string, int) {
	return s.table.(*postgresTable).updateText, 1 + len(columns) + len(seen)
}
