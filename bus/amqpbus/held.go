package amqpbus

import (
	"container/heap"
	"time"
)

// held are the deliveries that wait for a retry, the next one first. The session's
// lock guards it.
type held []*delivery

func (h held) Len() int           { return len(h) }
func (h held) Less(i, j int) bool { return h[i].wake.Before(h[j].wake) }
func (h held) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push is heap.Interface's.
func (h *held) Push(x any) { *h = append(*h, x.(*delivery)) }

// Pop is heap.Interface's.
func (h *held) Pop() any {
	last := len(*h) - 1
	d := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return d
}

func (h *held) add(d *delivery) { heap.Push(h, d) }

// next returns when something is to be done; zero when nothing waits.
func (h held) next() time.Time {
	if len(h) == 0 {
		return time.Time{}
	}
	return h[0].wake
}

// take removes and returns what need not wait any longer.
func (h *held) take(now time.Time) (ready []*delivery) {
	for len(*h) > 0 && !(*h)[0].wake.After(now) {
		ready = append(ready, heap.Pop(h).(*delivery))
	}
	return ready
}

// all removes and returns all.
func (h *held) all() []*delivery {
	left := *h
	*h = nil
	return left
}
