package redisstore

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/claim"
)

// PackedOptions choose the packed layout: a finished id with nothing else to keep
// takes a field in a small hash instead of a key of its own, a quarter of the
// memory for more of the server's time. docs/redis.md has the figures, and the
// way from one layout to the other; it takes two deployments, and no id is
// forgotten on it.
//
// Records that are not finished, or have a result or a fingerprint, are the same
// in both layouts.
type PackedOptions struct {
	// ExpectedIDs is how many ids are finished in one Retention, by all programs
	// that share the Prefix. It is the least that the hashes are made for. Where
	// there are more, a later generation of hashes has more of them, and meanwhile
	// each message costs a little more of the server's time; where there are fewer,
	// an id takes more memory. From 1 to 1,000,000,000. Defaults to 100,000.
	ExpectedIDs int
	// Retention is for how long an id is remembered at most in this layout: the
	// Retention of dedupe.Options, or of the longest among those that share the
	// Prefix. A completion that asks for more is recorded as in the plain layout;
	// one that asks for less is forgotten when it asks for, or later by less than
	// one part in 100,000 of this. At most claim.MaxRetention. Defaults to 24 h.
	Retention time.Duration
	// Prepare makes the store read the packed layout and write the plain one. It
	// is for the deployment before the one that packs: see docs/redis.md. Defaults
	// to false.
	Prepare bool
}

const (
	defaultExpectedIDs     = 100_000
	defaultPackedRetention = 24 * time.Hour

	maxExpectedIDs = 1_000_000_000

	// Half a retention makes a generation: three have to be asked for an id then,
	// and there is half a retention of dead ones in memory at most.
	generationsPerRetention = 2

	// bucketFill is how many ids a bucket should hold at the end of its generation.
	// It is WANTED in marker.lua.
	bucketFill = 64
	// maxBucket is how many one holds at most, but for a few. It is FULL there.
	maxBucket = 128
	// Every generation has a number of buckets for each value of the first byte.
	firstBytes = 256

	layoutName = "layout"
	// Behind the prefix a bucket has 12 digits for the generation, the first byte
	// of the digests and two for its number: one byte less than a record.
	bucketNameBytes = len(claim.Digest{}) - 1
)

func (o *PackedOptions) withDefaults() *PackedOptions {
	if o == nil {
		return nil
	}
	c := *o
	if c.ExpectedIDs == 0 {
		c.ExpectedIDs = defaultExpectedIDs
	}
	if c.Retention == 0 {
		c.Retention = defaultPackedRetention
	}
	return &c
}

func (o *PackedOptions) validate() error {
	switch {
	case o == nil:
	case o.ExpectedIDs < 1 || o.ExpectedIDs > maxExpectedIDs:
		return invalid("Packed.ExpectedIDs is %d, want 1 to %d", o.ExpectedIDs, maxExpectedIDs)
	case o.Retention < claim.MinRetention || o.Retention > claim.MaxRetention:
		return invalid("Packed.Retention is %v, want %v to %v", o.Retention, claim.MinRetention, claim.MaxRetention)
	}
	return nil
}

// packing is what the packed layout adds to a call. marker.lua has the rest.
type packing struct {
	// head tells the script what is wanted of the next generation.
	head blob
	// layouts are the names of the layout records: one, or where keys are in many
	// slots one for each first byte of a digest.
	layouts []string
}

func newPacking(o *PackedOptions, prefix string, tagged, routed bool) *packing {
	if o == nil {
		return nil
	}
	letter, length, count := byte('G'), o.Retention/generationsPerRetention, 0
	if routed {
		letter = 'H'
	}
	if !o.Prepare {
		const buckets = firstBytes * bucketFill * generationsPerRetention
		count = (o.ExpectedIDs + buckets - 1) / buckets
	}
	p := &packing{}
	p.head.b = appendNumber(append(p.head.b, letter), int64(count))
	p.head.b = appendMicros(appendMicros(p.head.b, o.Retention), length)
	if !tagged {
		p.layouts = []string{prefix + layoutName}
		return p
	}
	for first := range firstBytes {
		p.layouts = append(p.layouts, string(appendTag([]byte(prefix), byte(first)))+layoutName)
	}
	return p
}

// layout returns the name of the layout record for a digest.
func (p *packing) layout(d claim.Digest) *string {
	if len(p.layouts) == 1 {
		return &p.layouts[0]
	}
	return &p.layouts[d[0]]
}

// layoutOf returns the name of the layout record for the name of a record or a
// bucket: it begins like theirs.
func (p *packing) layoutOf(name string) string {
	if len(p.layouts) == 1 {
		return p.layouts[0]
	}
	prefix := len(p.layouts[0]) - len(layoutName)
	return name[:prefix] + layoutName
}

// appendTag appends the hash tag that keeps together what a script reaches of the
// packed layout: ids with one first byte, their buckets and their layout record.
func appendTag(b []byte, first byte) []byte {
	b = append(b, '{')
	b = hex.AppendEncode(b, []byte{first})
	return append(b, '}')
}

// tagBytes is the length of a tag.
const tagBytes = 4

// setLayout takes the layout from the options.
func (s *Store) setLayout(o *Options) error {
	if o.Packed == nil {
		return nil
	}
	s.names.tagged = !s.together
	if s.names.tagged && strings.Contains(o.Prefix, "{") {
		return invalid("Prefix has a { and no hash tag: with Packed and a client that routes by key, want both or neither")
	}
	s.packing = newPacking(o.Packed, o.Prefix, s.names.tagged, s.routed)
	return nil
}

// checkLayout looks whether the server suits the layout.
func (s *Store) checkLayout(ctx context.Context, client redis.UniversalClient, o *Options) error {
	if s.packing == nil {
		if !s.together {
			return nil // the packed layout has other keys there
		}
		err := client.Get(ctx, o.Prefix+layoutName).Err()
		switch {
		case err == nil:
			return invalid("Packed is nil and there are packed records with the Prefix %q, which this store would not see: "+
				"set Packed, and Prepare where plain records are to be written", o.Prefix)
		case err != redis.Nil && !isReply(err):
			return fmt.Errorf("redisstore: the server cannot be reached: %w", claim.Unavailable(plain(err)))
		}
		return nil
	}
	// CONFIG is often forbidden, and Redis before 7 has the names with ziplist.
	settings, err := client.ConfigGet(ctx, "hash-max-*").Result()
	if err != nil {
		return nil
	}
	for name, least := range map[string]int{
		"hash-max-listpack-entries": maxBucket, "hash-max-ziplist-entries": maxBucket,
		"hash-max-listpack-value": len(claim.Digest{}), "hash-max-ziplist-value": len(claim.Digest{}),
	} {
		if has, err := strconv.Atoi(settings[name]); err == nil && has < least {
			o.Logger.Warn("redisstore: hashes of the packed layout outgrow the server's encoding for small ones, and take several times the memory",
				"setting", name, "value", has, "want at least", least)
		}
	}
	return nil
}
