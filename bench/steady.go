//go:build linux

package main

import (
	"fmt"
	"time"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/dedupe"
)

// steadyTick is how often a steady stream goes on.
const steadyTick = 50 * time.Millisecond

// steady returns the bytes that an id takes on average where as many are forgotten
// as are handled: ids of them in each retention, after two of those.
func (b *bench) steady(o *redisstore.Options, ids int, retention time.Duration) (float64, error) {
	s, err := b.start()
	if err != nil {
		return 0, err
	}
	defer s.Close()
	store, err := b.store(s, o)
	if err != nil {
		return 0, err
	}
	d, err := b.deduper(store, dedupe.Options{Lease: retention / 2, ClaimTimeout: retention * 2 / 5, Retention: retention})
	if err != nil {
		return 0, err
	}
	w := b.batch("WrapBatch", s, d)
	if err := b.fill(w, w.per*w.callers); err != nil {
		return 0, err
	}
	before, err := s.memory()
	if err != nil {
		return 0, err
	}
	perSecond := float64(ids) / retention.Seconds()
	begun, sent, looks, sum := time.Now(), 0, 0, 0.0
	for {
		elapsed := time.Since(begun)
		if elapsed > 3*retention {
			break
		}
		if due := int(elapsed.Seconds()*perSecond) - sent; due >= w.per {
			if err := b.fill(w, due/w.per*w.per); err != nil {
				return 0, err
			}
			sent += due / w.per * w.per
		}
		if elapsed > 2*retention {
			now, err := s.memory()
			if err != nil {
				return 0, err
			}
			sum, looks = sum+float64(now-before), looks+1
		}
		if pause(b.ctx, steadyTick); b.ctx.Err() != nil {
			return 0, b.ctx.Err()
		}
	}
	if sent < ids*5/2 {
		return 0, fmt.Errorf("bench: steady state: %d ids handled in %v, want %d a second", sent, 3*retention, int(perSecond))
	}
	return sum / float64(looks) / float64(ids), nil
}
