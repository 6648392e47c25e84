package histories

import "time"

// timer is a moment in the store's future of which it is only known that it lies
// between two moments of the recording, both included. It was set length ahead
// of the operation that set it.
type timer struct{ from, to, length time.Duration }

// slack is by how much two clocks may disagree about a length of time: they run
// at rates that differ by less than a thousandth, and stores may count lives in
// milliseconds.
func slack(length time.Duration) time.Duration { return 2*time.Millisecond + length/1000 }

// window is when an operation may have taken effect. It read the store's clock at
// that moment or, with earlyClock, between clock and then.
type window struct {
	from, to, clock time.Duration
	earlyClock      bool
}

// newWindow returns the window of an operation, after one that took effect at
// now at the earliest.
func newWindow(now, call, end time.Duration, earlyClock bool) window {
	w := window{max(now, call), end, call, earlyClock}
	if !earlyClock {
		w.clock = w.from
	}
	return w
}

func (w window) empty() bool { return w.from > w.to }

// set returns the timer that an operation in w set length ahead.
func (w window) set(length time.Duration) timer {
	return timer{later(w.clock, length), later(w.to, length), length}
}

// running returns what is left of w and of the timer if the timer had not run
// out when the operation took effect.
func (t timer) running(w window) (timer, window) {
	s := slack(t.length)
	switch end := later(t.to, s); {
	case !w.earlyClock:
		w.to = min(w.to, end)
	case w.clock > end:
		w.to = w.from - 1 // never
	}
	t.from = max(t.from, w.clock-s)
	return t, w
}

// over returns what is left of w and of the timer if the timer had run out.
func (t timer) over(w window) (timer, window) {
	s := slack(t.length)
	w.from = max(w.from, t.from-s)
	w.clock = max(w.clock, t.from-s)
	t.to = min(t.to, later(w.to, s))
	return t, w
}

// told returns what is left of the timer if an operation in w was told how long
// it still runs, and false if that cannot be.
func (t timer) told(w window, remaining time.Duration) (timer, bool) {
	s := slack(t.length)
	t.from = max(t.from, later(w.clock, remaining)-s)
	t.to = min(t.to, later(later(w.to, remaining), s))
	return t, t.from <= t.to
}

// seen returns the timer when an operation that took effect by the end of w came
// after the one that set it.
func (t timer) seen(w window) timer {
	t.to = min(t.to, later(w.to, t.length))
	return t
}

// wider reports whether t may end whenever u may.
func (t timer) wider(u timer) bool { return t.from <= u.from && t.to >= u.to && t.length == u.length }

// later is a sum that stays at Never.
func later(at, d time.Duration) time.Duration {
	if at > Never-d {
		return Never
	}
	return at + d
}
