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

// window is when an operation may have taken effect.
type window struct{ from, to time.Duration }

func (w window) empty() bool { return w.from > w.to }

// set returns the timer that an operation in w set length ahead.
func (w window) set(length time.Duration) timer {
	return timer{later(w.from, length), later(w.to, length), length}
}

// running returns what is left of w and of the timer if the timer had not run
// out when the operation took effect.
func (t timer) running(w window) (timer, window) {
	s := slack(t.length)
	w.to = min(w.to, later(t.to, s))
	t.from = max(t.from, w.from-s)
	return t, w
}

// over returns what is left of w and of the timer if the timer had run out.
func (t timer) over(w window) (timer, window) {
	s := slack(t.length)
	w.from = max(w.from, t.from-s)
	t.to = min(t.to, later(w.to, s))
	return t, w
}

// told returns what is left of the timer if an operation in w was told how long
// it still runs, and false if that cannot be.
func (t timer) told(w window, remaining time.Duration) (timer, bool) {
	s := slack(t.length)
	t.from = max(t.from, later(w.from, remaining)-s)
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
