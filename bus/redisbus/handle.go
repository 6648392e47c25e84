package redisbus

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/bus"
)

// Handle calls h for one entry of stream and returns how to settle it, for those
// who have a loop of their own around XREADGROUP:
//
//	switch s := redisbus.Handle(ctx, "orders", entry, handler); s.Action {
//	case bus.ActionAck, bus.ActionReject:
//		client.XAck(ctx, "orders", group, entry.ID)
//	default:
//		// leave it pending; XAUTOCLAIM brings it again
//	}
//
// Fields are found as by default. A field that an entry has more than once is lost
// in the client's map, so the position is not that of a Consumer. The delivery's
// number and ack wait are not known, and there is no KeepAlive. A panic of h is a
// retry.
func Handle(ctx context.Context, stream string, entry redis.XMessage, h bus.Handler) (s bus.Settlement) {
	m := (encoding{defaultIDField, defaultDataField}).message(stream, fromMap(entry))
	bus.Serve(ctx, h, &m, func(settled bus.Settlement) { s = settled })
	return s
}
