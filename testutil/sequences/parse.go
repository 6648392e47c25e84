package sequences

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/oncebus/once/claim"
)

// parse reads a sequence as String writes it.
func parse(text string) (sequence, error) {
	var q sequence
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		s, err := parseStep(line)
		if err != nil {
			return nil, fmt.Errorf("sequences: line %d, %q: %w", number, line, err)
		}
		q = append(q, s)
	}
	return q, nil
}

func parseStep(line string) (s step, err error) {
	words, err := split(line)
	if err != nil {
		return s, err
	}
	if len(words) > 0 && words[0] == "|" {
		s.joined = true
		words = words[1:]
	}
	if len(words) < 2 {
		return s, fmt.Errorf("want a verb and what it is about")
	}
	for v, name := range verbs {
		if name == words[0] {
			s.verb = v
		}
	}
	subject, rest := words[1], words[2:]
	switch s.verb {
	case 0:
		return s, fmt.Errorf("unknown verb %q", words[0])
	case verbAgain:
		s.back, err = strconv.Atoi(subject)
	case verbAdvance:
		s.ttl, err = parseSpan(subject)
	default:
		if len(subject) != 1 {
			return s, fmt.Errorf("key %q: want one letter", subject)
		}
		s.key = subject[0]
		if s.verb != claim.OpForget && s.verb != claim.OpRevive {
			if len(rest) == 0 {
				return s, fmt.Errorf("want a token")
			}
			s.token, err = strconv.Atoi(rest[0])
			rest = rest[1:]
		}
	}
	for _, word := range rest {
		if err != nil {
			break
		}
		err = s.set(word)
	}
	return s, err
}

// set reads one argument.
func (s *step) set(word string) (err error) {
	name, value, _ := strings.Cut(word, "=")
	switch name {
	case "ttl", "delay":
		s.ttl, err = parseSpan(value)
	case "keep":
		s.keep, err = parseSpan(value)
	case "max":
		s.attempts, err = strconv.Atoi(value)
	case "park":
		s.park = true
	case "omitted":
		s.omitted = true
	case "print":
		if len(value) != 1 {
			return fmt.Errorf("print %q: want one letter", value)
		}
		s.print = value[0]
	case "result":
		s.result, err = parsePhrase(value)
	case "reason":
		s.reason, err = parsePhrase(value)
	case "seen":
		for state := claim.StatePending; s.seen.String() != value; state++ {
			if s.seen = state; state > claim.StateDead {
				return fmt.Errorf("unknown state %q", value)
			}
		}
	case "fence":
		i := slices.Index(fences, value)
		if i < 0 {
			return fmt.Errorf("unknown fence %q", value)
		}
		s.fence = fence(i)
	default:
		return fmt.Errorf("unknown argument %q", word)
	}
	return err
}

// parseSpan reads 0, 3u, 1ms, 1u+1ms and 1u-1ms.
func parseSpan(text string) (s span, err error) {
	if text == "0" {
		return s, nil
	}
	units, ms, both := strings.Cut(text, "u")
	if !both {
		units, ms = "0", text
	}
	if s.units, err = strconv.Atoi(units); err != nil || both && ms == "" {
		return s, err
	}
	ms, ok := strings.CutSuffix(ms, "ms")
	if !ok {
		return s, fmt.Errorf("length %q: want units or milliseconds, like 2u, 1ms or 2u-1ms", text)
	}
	s.ms, err = strconv.Atoi(ms)
	return s, err
}

// parsePhrase reads "text" and "text"*3.
func parsePhrase(text string) (f phrase, err error) {
	quoted, err := strconv.QuotedPrefix(text)
	if err != nil {
		return f, err
	}
	if f.text, err = strconv.Unquote(quoted); err != nil {
		return f, err
	}
	times, several := strings.CutPrefix(text[len(quoted):], "*")
	if !several {
		times = "1" + times // which is nothing, or no number
	}
	f.times, err = strconv.Atoi(times)
	return f, err
}

// split cuts a line at blanks outside of quotes.
func split(line string) (words []string, err error) {
	for line = strings.TrimLeft(line, " "); line != ""; line = strings.TrimLeft(line, " ") {
		end := 0
		for end < len(line) && line[end] != ' ' {
			if line[end] != '"' {
				end++
				continue
			}
			quoted, err := strconv.QuotedPrefix(line[end:])
			if err != nil {
				return nil, err
			}
			end += len(quoted)
		}
		words = append(words, line[:end])
		line = line[end:]
	}
	return words, nil
}
