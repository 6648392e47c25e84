package pebblestore

import (
	"context"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// On returns o with another disk.
func (o Options) On(fs vfs.FS) *Options {
	o.fs = fs
	return &o
}

// Keys counts the keys that the tree has.
func (s *Store) Keys() (n int, err error) {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return 0, err
	}
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	return n, it.Close()
}

// Compact makes the tree as small as it gets and returns the bytes of its tables.
func (s *Store) Compact() (int64, error) {
	if err := s.db.Flush(); err != nil {
		return 0, err
	}
	if err := s.db.Compact(context.Background(), []byte{prefixRecord}, []byte{prefixRecord + 1}, true); err != nil {
		return 0, err
	}
	m := s.db.Metrics().Total()
	return m.TablesSize, nil
}
