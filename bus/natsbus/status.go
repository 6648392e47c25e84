package natsbus

import (
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// statusKind is what a status message means for the requests.
type statusKind uint8

const (
	alive          statusKind = iota // a heartbeat
	requestEnded                     // a request expired; pending messages of it will not come
	serverBusy                       // all requests are void; look again later
	requestRefused                   // asking again will not help
	consumerGone                     // deleted
)

// status is what the server says on the subject of a pull request, other than a
// message.
type status struct {
	kind    statusKind
	pending int
	text    string
}

// readStatus reads a status message. What it does not know is taken for a reason
// to look at the server and ask again, which is never wrong.
func readStatus(m *nats.Msg) status {
	code, text := m.Header.Get("Status"), m.Header.Get("Description")
	s := status{kind: serverBusy, text: code + " " + text}
	description := strings.ToLower(text)
	switch {
	case code == "100":
		s.kind = alive
	case code == "400":
		s.kind = requestRefused
	case code == "409" && strings.Contains(description, "consumer deleted"):
		s.kind = consumerGone
	case code == "409" && strings.Contains(description, "push based"):
		s.kind = requestRefused
	case code == "404", code == "408", code == "409":
		pending, err := strconv.Atoi(m.Header.Get("Nats-Pending-Messages"))
		if err == nil {
			s.kind, s.pending = requestEnded, pending
		}
	}
	return s
}
