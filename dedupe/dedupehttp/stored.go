package dedupehttp

import (
	"encoding/binary"
	"errors"
	"maps"
	"net/http"
	"slices"
)

// stored is a response as it is kept with the completion of its key.
type stored struct {
	status  int
	omitted omission
	// header has the names that the handler set; a name without values is one that
	// it deleted. A trailer stands under http.TrailerPrefix and its name.
	header http.Header
	body   []byte
}

// omission says what of a response was not kept.
type omission byte

const (
	omitsBody omission = 1 << iota
	omitsHeader
)

// storedVersion is the first byte of a stored response. Another layout takes
// another version.
const storedVersion = 1

// errStored is returned for a stored response that this version cannot read.
var errStored = errors.New("dedupehttp: the stored response is not of this version, or broken")

// append appends the response to b: the version, what is omitted, the status, the
// header, each name and value preceded by its length, and as the rest the body.
func (s *stored) append(b []byte) []byte {
	b = append(b, storedVersion, byte(s.omitted))
	b = binary.AppendUvarint(b, uint64(s.status))
	b = binary.AppendUvarint(b, uint64(len(s.header)))
	for _, name := range slices.Sorted(maps.Keys(s.header)) {
		b = appendPart(b, name)
		b = binary.AppendUvarint(b, uint64(len(s.header[name])))
		for _, value := range s.header[name] {
			b = appendPart(b, value)
		}
	}
	return append(b, s.body...)
}

func appendPart(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// parseStored reads what append wrote. Anything else is errStored. The body shares
// b's memory.
func parseStored(b []byte) (*stored, error) {
	if len(b) < 2 || b[0] != storedVersion || omission(b[1])&^(omitsBody|omitsHeader) != 0 {
		return nil, errStored
	}
	r := storedReader{rest: b[2:]}
	s := &stored{omitted: omission(b[1]), status: r.number(999), header: http.Header{}}
	for range r.number(len(r.rest)) {
		name := r.part()
		// A value takes a byte at least, so that no count is larger than what is left.
		values := make([]string, r.number(len(r.rest)))
		for i := range values {
			values[i] = r.part()
		}
		_, twice := s.header[name]
		r.bad = r.bad || twice
		if r.bad {
			return nil, errStored
		}
		s.header[name] = values
	}
	s.body = r.rest
	if r.bad || s.status < 200 || s.omitted&omitsBody != 0 && len(s.body) > 0 {
		return nil, errStored
	}
	return s, nil
}

// storedReader reads the parts of a stored response and notes when one is not
// there.
type storedReader struct {
	rest []byte
	bad  bool
}

func (r *storedReader) number(most int) int {
	v, n := binary.Uvarint(r.rest)
	if r.bad || n <= 0 || v > uint64(most) {
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return int(v)
}

func (r *storedReader) part() string {
	n := r.number(len(r.rest))
	if r.bad || n > len(r.rest) {
		r.bad = true
		return ""
	}
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}
