package dedupehttp

// What the tests look at from outside.
var (
	ParseKey = func(values []string, limit int) (key string, ok bool) {
		key, wrong := parseKey(values, limit)
		return key, wrong == nil
	}
	ParseStored = parseStored
	ErrStored   = errStored
)

// Append is append, for the fuzzing of what ParseStored takes.
func (s *stored) Append(b []byte) []byte { return s.append(b) }
