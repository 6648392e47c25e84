package crashkit

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/oncebus/once/bus"
)

// String returns the report as text: the effects, a table with a row for each
// scenario, and the findings with what to do about them.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d scenarios; effects:", len(r.Rows))
	for i, k := range r.Effects {
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, " %s (%v)", k.Name, k.Guard)
	}
	b.WriteString("\n\n")
	r.writeTable(&b)
	for _, f := range r.Findings {
		b.WriteString("\n")
		b.WriteString(f.String())
	}
	if len(r.Findings) == 0 {
		b.WriteString("\nno findings\n")
	}
	return b.String()
}

func (r *Report) writeTable(b *strings.Builder) {
	tw := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprint(tw, "point\tscenario\truns\t")
	for _, k := range r.Effects {
		fmt.Fprintf(tw, "%s\t", k.Name)
	}
	fmt.Fprintln(tw, "verdict")
	for i := range r.Rows {
		row := &r.Rows[i]
		fmt.Fprintf(tw, "%s\t%s\t%d\t", row.Point, row.Scenario, row.Runs)
		for j := range r.Effects {
			fmt.Fprintf(tw, "%s\t", row.cell(j))
		}
		fmt.Fprintln(tw, r.verdict(row))
	}
	_ = tw.Flush() // into a strings.Builder
}

// cell returns how often the i-th effect happened, with a mark if that is wrong.
func (r *Row) cell(i int) string {
	if i >= len(r.Counts) || r.Hung {
		return "?"
	}
	c := &r.Counts[i]
	switch {
	case slices.Contains(r.Lost(), c.Effect):
		return fmt.Sprint(c.InTime, "!")
	case c.Doubled():
		return fmt.Sprint(c.Happened, "!")
	}
	return fmt.Sprint(c.Happened)
}

// verdict returns what the row says, in words.
func (r *Report) verdict(row *Row) string {
	var words []string
	say := func(when bool, format string, args ...any) {
		if when {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	say(row.Hung, "HUNG")
	say(row.Settled == 0 && !row.Hung, "NEVER SETTLED")
	say(row.Broken != "", "BROKEN PROMISE: %s", row.Broken)
	for _, name := range row.Lost() {
		say(true, "LOST %s", name)
	}
	for _, name := range row.Doubled() {
		if r.tolerates(name) && row.Broken == "" {
			say(true, "doubled %s (tolerated)", name)
		} else {
			say(true, "DOUBLED %s", name)
		}
	}
	say(len(words) == 0 && row.Settled == bus.ActionReject, "rejected")
	say(len(words) == 0, "ok")
	for i := range row.Counts {
		c := &row.Counts[i]
		say(c.Absorbed > 0, "%s absorbed %d", c.Effect, c.Absorbed)
		say(c.Refused > 0, "%s refused %d", c.Effect, c.Refused)
		say(c.Replaced > 0, "%s set again", c.Effect)
	}
	say(!row.Struck && !row.Hung, "not reached")
	return strings.Join(words, "; ")
}

func (r *Report) tolerates(name string) bool {
	return slices.ContainsFunc(r.Effects, func(k Effect) bool { return k.Name == name && k.Tolerated })
}

func (r *Report) titles(effect string, names func(*Row) []string) (titles []string) {
	for i := range r.Rows {
		if slices.Contains(names(&r.Rows[i]), effect) {
			titles = append(titles, r.Rows[i].Title())
		}
	}
	return titles
}

// textWidth is where the text of a finding is broken.
const textWidth = 100

// String returns the finding as text of a few lines.
func (f Finding) String() string {
	label := "note"
	if f.Fails {
		label = "FAIL"
	}
	return wrap(label+"  ", f.What) + wrap("      do: ", f.Do)
}

// wrap returns text in lines of textWidth, the first one after label and the
// others as far to the right.
func wrap(label, text string) string {
	var b strings.Builder
	b.WriteString(label)
	at := len(label)
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case at+1+len(word) > textWidth:
			b.WriteString("\n")
			b.WriteString(strings.Repeat(" ", len(label)))
			at = len(label)
		default:
			b.WriteString(" ")
			at++
		}
		b.WriteString(word)
		at += len(word)
	}
	b.WriteString("\n")
	return b.String()
}
