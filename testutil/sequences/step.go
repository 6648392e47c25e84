package sequences

import (
	"strconv"
	"strings"
	"time"

	"github.com/oncebus/once/claim"
)

// span is a length of time: some units, give or take some milliseconds.
type span struct{ units, ms int }

// drawnOut is by how much a span of more than a unit is longer on a real clock,
// so that it never ends while a sequence is played.
const drawnOut = 1000

// on returns the span on the clock of a harness.
func (s span) on(unit time.Duration, real bool) time.Duration {
	switch {
	case !real:
		return max(0, time.Duration(s.units)*unit+time.Duration(s.ms)*time.Millisecond)
	case s.units > 1:
		return time.Duration(s.units) * drawnOut * unit
	case s == span{}:
		return 0
	}
	return unit
}

func (s span) String() string {
	units, ms := strconv.Itoa(s.units)+"u", strconv.Itoa(s.ms)+"ms"
	switch {
	case s == span{}:
		return "0"
	case s.ms == 0:
		return units
	case s.units == 0:
		return ms
	case s.ms > 0:
		return units + "+" + ms
	}
	return units + ms
}

// phrase is a text, written several times over. The zero phrase is none.
type phrase struct {
	text  string
	times int
}

func (f phrase) String() string {
	if f.times == 1 {
		return strconv.Quote(f.text)
	}
	return strconv.Quote(f.text) + "*" + strconv.Itoa(f.times)
}

func (f phrase) bytes() []byte { return []byte(strings.Repeat(f.text, f.times)) }

// verb is what a step does: an operation of package claim, or one of the others
// below.
type verb = claim.OpKind

const (
	verbAgain verb = 100 + iota
	verbAdvance
)

var verbs = map[verb]string{
	claim.OpTryClaim: "claim", claim.OpExtend: "extend", claim.OpMarkDone: "done",
	claim.OpMarkDead: "dead", claim.OpRelease: "release", claim.OpForget: "forget",
	claim.OpRevive: "revive", verbAgain: "again", verbAdvance: "advance",
}

// fence says which fence an operation shows.
type fence uint8

const (
	fenceOwn     fence = iota // of the last grant of the token; for operators the record's
	fenceNext                 // one above that
	fencePrev                 // one below that
	fenceZero                 // none
	fenceCurrent              // of the record, whoever has it
)

var fences = []string{fenceOwn: "own", fenceNext: "next", fencePrev: "prev", fenceZero: "zero", fenceCurrent: "current"}

// step is one line of a sequence. It says what is meant, not which bytes: the
// same step fits every store.
type step struct {
	verb   verb
	joined bool // in one batch with the step before
	key    byte // 'a', 'b', …
	token  int  // 1, 2, …
	fence  fence

	ttl      span // lease, delay, or by how much the clock moves
	keep     span // retention
	print    byte // fingerprint: 0 or 'A', 'B', …
	attempts int  // MaxAttempts
	park     bool
	result   phrase
	omitted  bool
	reason   phrase

	seen claim.State // for operators: the record's own if it is absent

	back int // for again: how many operations back
}

// sequence is a list of steps.
type sequence []step

// String returns the sequence as text.
func (q sequence) String() string {
	var b strings.Builder
	for _, s := range q {
		b.WriteString(s.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// String returns the step's line.
func (s step) String() string {
	var words []string
	add := func(w ...string) { words = append(words, w...) }
	if s.joined {
		add("|")
	}
	add(verbs[s.verb])
	switch s.verb {
	case verbAgain:
		add(strconv.Itoa(s.back))
		return strings.Join(words, " ")
	case verbAdvance:
		add(s.ttl.String())
		return strings.Join(words, " ")
	}
	add(string(s.key))
	if s.verb != claim.OpForget && s.verb != claim.OpRevive {
		add(strconv.Itoa(s.token))
	}
	if s.fence != fenceOwn {
		add("fence=" + fences[s.fence])
	}
	switch s.verb {
	case claim.OpTryClaim:
		add("ttl="+s.ttl.String(), "keep="+s.keep.String())
		if s.attempts != 0 {
			add("max=" + strconv.Itoa(s.attempts))
		}
		if s.park {
			add("park")
		}
	case claim.OpExtend:
		add("ttl=" + s.ttl.String())
	case claim.OpMarkDone:
		add("keep=" + s.keep.String())
		if s.result != (phrase{}) {
			add("result=" + s.result.String())
		}
		if s.omitted {
			add("omitted")
		}
	case claim.OpMarkDead:
		add("reason=" + s.reason.String())
	case claim.OpRelease:
		add("delay=" + s.ttl.String())
	case claim.OpForget, claim.OpRevive:
		if s.seen != claim.StateAbsent {
			add("seen=" + s.seen.String())
		}
	}
	if s.print != 0 {
		add("print=" + string(s.print))
	}
	return strings.Join(words, " ")
}
