package drill

import (
	"fmt"
	"io"
)

// Table is a summary for people: titles, and rows of a number and what it counts.
type Table struct {
	w     io.Writer
	flags *Flags
}

// Begin prints what the run was.
func (t *Table) Begin(format string, args ...any) {
	fmt.Fprintf(t.w, "\n%s, seed %d\n", fmt.Sprintf(format, args...), t.flags.Seed)
	if t.flags.Off {
		fmt.Fprintln(t.w, "Deduplication is OFF")
	}
}

// Title begins a group of rows.
func (t *Table) Title(title string) { fmt.Fprintf(t.w, "\n%s\n", title) }

// Row prints n and what it counts.
func (t *Table) Row(n int64, format string, args ...any) {
	fmt.Fprintf(t.w, "%12s  %s\n", Thousands(n), fmt.Sprintf(format, args...))
}

// Deliveries prints how deliveries ended.
func (t *Table) Deliveries(s *Summary) {
	t.Title("Deliveries")
	t.Row(s.Deliveries, "in all")
	t.Row(s.Charges, "charged the order")
	t.Row(s.Retried, "failed before the charge (%s panics): given back", Thousands(s.Panics))
	t.Row(s.Duplicates, "found the order done: acknowledged, not run")
	t.Row(s.Pending, "found the order at work elsewhere, or not due yet: put off")
	if s.GivenUp > 0 {
		t.Row(s.GivenUp, "failed for the last time, or found the order given up: rejected")
	}
	if s.Other != 0 {
		t.Row(s.Other, "ended otherwise (%s found the claim store down)", Thousands(s.StoreDown))
	}
}

// Orders prints what became of the orders, which are given up after so many
// attempts, and how long it took.
func (t *Table) Orders(s *Summary, attempts int) {
	t.Title("Orders")
	t.Row(int64(s.Unique), "in all")
	t.Row(int64(s.Handled), "charged")
	t.Row(int64(s.Dead), "given up, after %d attempts", attempts)
	if s.Unsettled > 0 {
		t.Row(int64(s.Unsettled), "still to be delivered when the run ended")
	}
	t.Row(int64(s.Lost), "LOST")
	t.Row(int64(s.DoubleEffects), "CHARGED MORE THAN ONCE")
	fmt.Fprintf(t.w, "\n%.1f s, %s orders a second\n", s.Seconds, Thousands(int64(s.PerSecond)))
}

// Thousands prints n with commas.
func Thousands[N int | int64](n N) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
