//go:build linux

package main

import (
	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/dedupe"
)

// batches measures batches of a hundred against R, which sends a hundred at a time
// too.
func (b *bench) batches() error {
	d, err := b.redisDeduper()
	if err != nil {
		return err
	}
	store, err := b.store(b.redis, &redisstore.Options{Prefix: "packed:", Packed: &redisstore.PackedOptions{ExpectedIDs: manyIDs}})
	if err != nil {
		return err
	}
	packed, err := b.deduper(store, dedupe.Options{})
	if err != nil {
		return err
	}
	ways := []*way{b.limit, b.batch("WrapBatch", b.redis, d), b.batch("WrapBatch, packed", b.redis, packed)}
	all, err := b.turns("batches", b.set.turns, ways...)
	if err != nil {
		return err
	}
	const how = "four callers, median of %d turns of %v in turn with R"
	b.found(batchR, ratio(all[1], all[0], rate), how, b.set.turns, b.set.sample)
	b.found(batchCPU, ratio(all[1], all[0], serverCPU), how, b.set.turns, b.set.sample)
	return nil
}
