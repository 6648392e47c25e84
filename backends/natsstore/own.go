package natsstore

import (
	"sync"

	"github.com/oncebus/once/claim"
)

// maxOwn bounds the claims that a store remembers to have made: some 30 MB.
const maxOwn = 1 << 16

// own remembers the pending records that this store wrote, with their
// revisions, so that what ends or extends a claim needs no read. Whether one is
// still current the server says, when it compares the revision. The times in
// them are a little early, since the server stamps a record after it was made. It
// is safe for concurrent use.
type own struct {
	mu      sync.Mutex
	records map[claim.Digest]version // guarded by mu
}

// version is a record with its revision in the bucket, zero for none, and the
// server's time when it was written, where that is known.
type version struct {
	rec      claim.Record
	revision uint64
	stamped  claim.Instant
}

func (o *own) get(d claim.Digest) (version, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	v, ok := o.records[d]
	return v, ok
}

// put remembers v, and forgets any other when there are too many: claims whose
// owner never came back.
func (o *own) put(d claim.Digest, v version) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.records) >= maxOwn {
		for old := range o.records {
			delete(o.records, old)
			break
		}
	}
	o.records[d] = v
}

func (o *own) drop(d claim.Digest) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.records, d)
}
