package dedupehttp

import (
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// hopByHop are the headers that belong to a connection and not to a response
// (RFC 9110, section 7.6.1), beside those that Connection names.
var hopByHop = []string{"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Transfer-Encoding", "Upgrade"}

// ofContent are the headers that describe a body.
var ofContent = []string{
	"Content-Digest", "Content-Encoding", "Content-Length", "Content-Md5", "Content-Range", "Content-Type",
	"Digest", "Repr-Digest", "Trailer",
}

// kept returns the headers that are stored: those that the handler set or
// changed, those that it deleted, without values, and trailers.
func (r *recorder) kept() http.Header {
	kept := http.Header{}
	for name, values := range r.header {
		if was, ok := r.before[name]; !ok || !slices.Equal(was, values) {
			kept[name] = values
		}
	}
	for name := range r.before {
		if _, ok := r.header[name]; !ok {
			kept[name] = nil
		}
	}
	maps.Copy(kept, r.trailer)
	for name := range listed(r.header["Connection"]) {
		delete(kept, name)
	}
	for _, name := range hopByHop {
		delete(kept, name)
	}
	return kept
}

// omitBody drops the body and what describes it.
func (s *stored) omitBody() {
	s.body = nil
	s.omitted |= omitsBody
	for _, name := range ofContent {
		delete(s.header, name)
	}
	maps.DeleteFunc(s.header, func(name string, _ []string) bool { return strings.HasPrefix(name, http.TrailerPrefix) })
}

// setHeader makes h equal to want.
func setHeader(h, want http.Header) {
	clear(h)
	maps.Copy(h, want)
}

// listed returns the names in the lists that are the values of a header.
func listed(values []string) map[string]bool {
	if len(values) == 0 {
		return nil
	}
	names := map[string]bool{}
	for _, value := range values {
		for name := range strings.SplitSeq(value, ",") {
			names[textproto.CanonicalMIMEHeaderKey(strings.Trim(name, " \t"))] = true
		}
	}
	return names
}
