package dedupe

import (
	"context"
	"errors"
	"fmt"

	"github.com/oncebus/once/claim"
)

// ErrNoInspector is returned by Inspect, Forget and Revive when the store does
// not let operators look into it.
var ErrNoInspector = errors.New("dedupe: the store is not a claim.Inspector")

// Inspect returns the record of id, with claim.StateAbsent when there is none.
func (d *Deduper) Inspect(ctx context.Context, id Identity) (claim.Entry, error) {
	inspector, key, err := d.inspector(id)
	if err != nil {
		return claim.Entry{}, err
	}
	return inspector.Get(ctx, key)
}

// Forget removes the record of id as an operator saw it, by Inspect: the next delivery starts afresh. Other processes may still answer the id from
// memory for Options.MemoryTTL. It returns claim.ErrLost when the record has moved
// on.
func (d *Deduper) Forget(ctx context.Context, id Identity, seen claim.Entry) error {
	return d.repair(id, func(i claim.Inspector, key claim.Key) error { return i.Forget(ctx, key, seen.Record) })
}

// Revive makes the record of id, as an operator saw it by Inspect, claimable again, with attempts counted from zero: when the message is delivered
// or published once more, its handler runs exactly once more. Other processes may
// still answer the id from memory for Options.MemoryTTL. It returns claim.ErrLost
// when the record has moved on or is running.
func (d *Deduper) Revive(ctx context.Context, id Identity, seen claim.Entry) error {
	return d.repair(id, func(i claim.Inspector, key claim.Key) error { return i.Revive(ctx, key, seen.Record) })
}

func (d *Deduper) repair(id Identity, change func(claim.Inspector, claim.Key) error) error {
	inspector, key, err := d.inspector(id)
	if err != nil {
		return err
	}
	if err := change(inspector, key); err != nil {
		return err
	}
	d.finished.drop(key.Digest())
	d.memory.forget(&key)
	return nil
}

func (d *Deduper) inspector(id Identity) (claim.Inspector, claim.Key, error) {
	inspector, ok := d.store.(claim.Inspector)
	if !ok {
		return nil, claim.Key{}, ErrNoInspector
	}
	key, err := d.key(&id)
	if err != nil {
		return nil, claim.Key{}, fmt.Errorf("%w: %w", ErrNoID, err)
	}
	return inspector, key, nil
}
