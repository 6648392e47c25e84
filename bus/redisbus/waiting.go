package redisbus

import (
	"container/heap"
	"time"
)

// wait is an entry that is to be delivered again by this consumer. It stays
// pending, and is kept from others for as long as it waits. The session's lock
// guards it while it does.
type wait struct {
	id     string
	number int // deliveries so far
	due    time.Time
	fresh  time.Time // when its idle time began at the latest
	queued bool      // a refresh is on its way
	fate   string    // taken or deleted, as was told; "": neither
	place  int       // in the heap
}

// waiting are the entries that wait, the next one first. The session's lock guards
// it.
type waiting struct {
	heap waitHeap
	byID map[string]*wait
}

// add puts w there. An entry waits once: the later delivery counts.
func (l *waiting) add(w *wait) {
	if old := l.byID[w.id]; old != nil {
		if old.number > w.number {
			return
		}
		l.remove(old)
	}
	l.byID[w.id] = w
	heap.Push(&l.heap, w)
}

func (l *waiting) remove(w *wait) {
	if l.byID[w.id] == w {
		delete(l.byID, w.id)
		heap.Remove(&l.heap, w.place)
	}
}

// next returns when the next one is due; zero when none waits.
func (l *waiting) next() time.Time {
	if len(l.heap) == 0 {
		return time.Time{}
	}
	return l.heap[0].due
}

// take removes and returns up to n that are due.
func (l *waiting) take(now time.Time, n int) (due []*wait) {
	for len(due) < n && len(l.heap) > 0 && !l.heap[0].due.After(now) {
		w := l.heap[0]
		l.remove(w)
		due = append(due, w)
	}
	return due
}

// all removes and returns all.
func (l *waiting) all() []*wait {
	left := l.heap
	l.heap, l.byID = nil, make(map[string]*wait)
	return left
}

// release returns what lets others take w over when it is due, or when it was idle
// for long enough if that is earlier.
func (w *wait) release(minIdle time.Duration) *keep {
	return &keep{id: w.id, number: w.number, note: w.number, idle: max(0, minIdle-max(0, time.Until(w.due)))}
}

// refresh returns what keeps w from others.
func (w *wait) refresh() *keep {
	return &keep{id: w.id, number: w.number, note: w.number, w: w}
}

// waitHeap is a container/heap by time.
type waitHeap []*wait

func (h waitHeap) Len() int           { return len(h) }
func (h waitHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h waitHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *waitHeap) Push(x any) {
	w := x.(*wait)
	w.place = len(*h)
	*h = append(*h, w)
}

func (h *waitHeap) Pop() any {
	last := len(*h) - 1
	w := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return w
}
