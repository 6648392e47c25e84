package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/oncebus/once/claim"
)

// maxLine is how long a line may be, in bytes, without its end. A server may take
// less.
const maxLine = 1 << 20

// lines is a source of orders from text: one JSON object a line.
type lines struct {
	in     io.Reader
	path   []string // to the id
	limit  int      // of a line, in bytes
	reject func(line int, why error)
}

// orders is a source. A line that is no order is rejected and stops nothing;
// blank lines are skipped.
func (l *lines) orders(yield func(order) bool) error {
	r := bufio.NewReaderSize(l.in, 64<<10)
	for n := 1; ; n++ {
		line, long, err := readLine(r, l.limit)
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff")) // some editors' mark of UTF-8
		}
		line = bytes.TrimSpace(line)
		switch {
		case long:
			l.reject(n, fmt.Errorf("longer than %d bytes", l.limit))
		case len(line) > 0:
			id, err := findID(line, l.path)
			if err != nil {
				l.reject(n, err)
			} else if !yield(order{id, line}) {
				return nil
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("-in: after line %d: %w", n, err)
		}
	}
}

// readLine reads up to the end of a line, which may be the end of the input. Of a
// line that is too long it keeps nothing. The bytes are the caller's.
func readLine(r *bufio.Reader, limit int) (line []byte, long bool, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if !long {
			line = append(line, part...)
			if len(bytes.TrimRight(line, "\r\n")) > limit {
				line, long = nil, true
			}
		}
		if err != bufio.ErrBufferFull {
			return line, long, err
		}
	}
}

// findID returns the id at path in the JSON object line, as a message id. A
// string counts as its text and a number as its digits.
func findID(line []byte, path []string) (string, error) {
	switch {
	case !utf8.Valid(line):
		return "", errors.New("not UTF-8")
	case !json.Valid(line):
		return "", errors.New("not JSON")
	}
	value := json.RawMessage(line)
	for i, name := range path {
		var fields map[string]json.RawMessage
		if json.Unmarshal(value, &fields) != nil || fields == nil {
			return "", fmt.Errorf("no id: %s is not an object", where(path[:i]))
		}
		var ok bool
		if value, ok = fields[name]; !ok {
			return "", fmt.Errorf("no id: %s has no field %q", where(path[:i]), name)
		}
	}
	if c := value[0]; c == '-' || '0' <= c && c <= '9' {
		return messageID(string(value))
	}
	var text *string
	if json.Unmarshal(value, &text) != nil || text == nil {
		return "", fmt.Errorf("%s is neither a string nor a number", where(path))
	}
	return messageID(*text)
}

func where(path []string) string {
	if len(path) == 0 {
		return "the line"
	}
	return strings.Join(path, ".")
}

// messageID returns id as it goes into the Nats-Msg-Id header. A header loses
// blanks at its ends and turns line breaks into blanks, so that two ids could
// become one, and an order be skipped as the duplicate of another: what a header
// cannot carry is percent-encoded.
func messageID(id string) (string, error) {
	switch escaped := url.PathEscape(id); {
	case id == "":
		return "", errors.New("the id is empty")
	case strings.ContainsRune(id, utf8.RuneError):
		// Half a surrogate pair, most likely: all such ids would be the same.
		return "", errors.New("the id is not valid Unicode")
	case len(escaped) > claim.MaxIDBytes:
		return "", fmt.Errorf("the id is too long: %d bytes, the limit is %d", len(escaped), claim.MaxIDBytes)
	default:
		return escaped, nil
	}
}
