package dedupehttp

import (
	"bufio"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// recorder is the http.ResponseWriter of a handler. It holds the response back
// until it is recorded, unless the handler streams it. It works on the header map
// of the writer that it wraps, so that handlers on both sides see each other's.
type recorder struct {
	w      http.ResponseWriter
	before http.Header // what stood in the header when the handler was called
	limit  int         // of the body, in bytes

	status   int         // zero until the handler decided
	header   http.Header // as of that moment
	trailer  http.Header // under http.TrailerPrefix and their names; set by end
	body     []byte
	live     bool // what is written goes out
	hijacked bool
}

func newRecorder(w http.ResponseWriter, limit int) *recorder {
	return &recorder{w: w, before: w.Header().Clone(), limit: limit}
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.w }

// Header implements http.ResponseWriter.
func (r *recorder) Header() http.Header { return r.w.Header() }

// WriteHeader implements http.ResponseWriter. Informational responses go out at
// once and are not recorded.
func (r *recorder) WriteHeader(status int) {
	switch {
	case r.status != 0 && !r.live:
		// The first one counts, as in net/http.
	case r.live, status < 200 && status != http.StatusSwitchingProtocols, status > 999:
		r.w.WriteHeader(status)
	default:
		r.status, r.header = status, r.w.Header().Clone()
		if status == http.StatusSwitchingProtocols {
			r.goLive()
		}
	}
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 && !r.live {
		r.WriteHeader(http.StatusOK)
	}
	switch {
	case r.live:
	case !allowsBody(r.status):
		return 0, http.ErrBodyNotAllowed
	case len(r.body)+len(p) <= r.limit:
		r.body = append(r.body, p...)
		return len(p), nil
	default:
		r.goLive()
	}
	return r.w.Write(p)
}

// Flush implements http.Flusher.
func (r *recorder) Flush() { _ = r.FlushError() }

// FlushError is what http.ResponseController calls.
func (r *recorder) FlushError() error {
	if r.status == 0 && !r.live {
		r.WriteHeader(http.StatusOK)
	}
	r.goLive()
	return http.NewResponseController(r.w).Flush()
}

// Hijack implements http.Hijacker.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if r.status != 0 {
		r.goLive()
	}
	conn, rw, err := http.NewResponseController(r.w).Hijack()
	if err == nil {
		r.live, r.hijacked = true, true
	}
	return conn, rw, err
}

// silent reports whether the handler has not answered.
func (r *recorder) silent() bool { return r.status == 0 && !r.hijacked }

// end notes that the handler has returned.
func (r *recorder) end() {
	switch {
	case r.silent():
		r.WriteHeader(http.StatusOK)
	case r.header == nil: // hijacked at once
		r.header = r.before
	}
	r.trailer = r.trailers()
}

// goLive sends what was held back; what follows goes straight out.
func (r *recorder) goLive() {
	if r.live {
		return
	}
	r.live = true
	trailers := r.trailers()
	setHeader(r.w.Header(), r.header)
	r.w.WriteHeader(r.status)
	if len(r.body) > 0 {
		_, _ = r.w.Write(r.body) // a client that has gone away is the next Write's affair
	}
	r.body = nil
	for name, values := range trailers {
		r.w.Header()[name] = values
	}
}

// trailers returns the trailers that the handler has set so far.
func (r *recorder) trailers() http.Header {
	var found http.Header
	declared := listed(r.header["Trailer"])
	for name, values := range r.w.Header() {
		if declared[name] {
			name = http.TrailerPrefix + name
		}
		if strings.HasPrefix(name, http.TrailerPrefix) {
			if found == nil {
				found = http.Header{}
			}
			found[name] = values
		}
	}
	return found
}

// discard forgets what was held back, and reports whether there is still time for
// another answer.
func (r *recorder) discard() bool {
	if r.live {
		return false
	}
	setHeader(r.w.Header(), r.before)
	return true
}

// stored returns the response as it is kept in at most limit bytes.
func (r *recorder) stored(limit int) []byte {
	s := &stored{status: r.status, header: r.kept(), body: r.body}
	if r.live || r.cut() {
		s.omitBody()
	}
	if r.status == 0 || r.status == http.StatusSwitchingProtocols {
		s.status = http.StatusNoContent // the connection was another protocol's
	}
	b := s.append(nil)
	if len(b) > limit {
		s.omitBody()
		b = s.append(nil)
	}
	if len(b) > limit {
		s.header, s.omitted = nil, omitsBody|omitsHeader
		b = s.append(nil)
	}
	return b
}

// cut reports whether the body is not as long as the handler has said: it broke
// off, and its client was not served.
func (r *recorder) cut() bool {
	length := r.header.Get("Content-Length")
	return length != "" && length != strconv.Itoa(len(r.body)) && allowsBody(r.status)
}

// allowsBody reports whether a response with this status may have a body.
func allowsBody(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}
