package redisbus_test

import (
	"testing"
	"time"

	"github.com/oncebus/once/testutil/bustest"
	"github.com/redis/go-redis/v9"
)

// given returns a rig with one entry that was delivered to consumer "a".
func given(t *testing.T) (r *rig, id string) {
	t.Helper()
	r = newRig(t)
	if err := r.client.XGroupCreateMkStream(t.Context(), r.stream, r.group, "0").Err(); err != nil {
		t.Fatal(err)
	}
	r.publish(t, "1")
	res, err := r.client.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: r.group, Consumer: "a", Streams: []string{r.stream, ">"}}).Result()
	if err != nil {
		t.Fatal(err)
	}
	return r, res[0].Messages[0].ID
}

// claim gives the entry to a consumer.
func (r *rig) claim(t *testing.T, consumer, id string) {
	t.Helper()
	a := &redis.XClaimArgs{Stream: r.stream, Group: r.group, Consumer: consumer, Messages: []string{id}}
	if got, err := r.client.XClaim(t.Context(), a).Result(); err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
}

func (r *rig) only(t *testing.T) redis.XPendingExt {
	t.Helper()
	got, err := r.client.XPendingExt(t.Context(), &redis.XPendingExtArgs{Stream: r.stream, Group: r.group, Start: "-", End: "+", Count: 10}).Result()
	if err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	return got[0]
}

func TestFactAnAckIsNotAskedWhoseItIs(t *testing.T) {
	t.Parallel()
	r, id := given(t)
	r.claim(t, "b", id)
	if n, err := r.client.XAck(t.Context(), r.stream, r.group, id).Result(); err != nil || n != 1 { // as a would
		t.Fatal(n, err)
	}
	if n := r.pending(t); n != 0 {
		t.Errorf("%d pending: the ack of the first owner left the second its entry", n)
	}
}

func TestFactAClaimTakesAnEntryFromItsNewOwner(t *testing.T) {
	t.Parallel()
	r, id := given(t)
	r.claim(t, "b", id)
	if err := r.client.Do(t.Context(), "XCLAIM", r.stream, r.group, "a", 0, id, "IDLE", 0, "JUSTID").Err(); err != nil {
		t.Fatal(err)
	}
	if p := r.only(t); p.Consumer != "a" || p.RetryCount != 2 {
		t.Errorf("%+v: the first owner's keep-alive left the second its entry, or counted", p)
	}
}

func TestFactAnIdleTimeCannotBeginLater(t *testing.T) {
	t.Parallel()
	r, id := given(t)
	later := time.Now().Add(time.Hour).UnixMilli()
	if err := r.client.Do(t.Context(), "XCLAIM", r.stream, r.group, "a", 0, id, "TIME", later, "JUSTID").Err(); err != nil {
		t.Fatal(err)
	}
	bustest.Until(t, "the idle time to grow", func() bool { return r.only(t).Idle >= 10*time.Millisecond })
}

func TestFactAConsumerIsDeletedWithItsEntries(t *testing.T) {
	t.Parallel()
	r, _ := given(t)
	if n, err := r.client.XGroupDelConsumer(t.Context(), r.stream, r.group, "a").Result(); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	res, err := r.client.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: r.group, Consumer: "b", Streams: []string{r.stream, ">"}, Block: -1}).Result()
	if r.pending(t) != 0 || err != redis.Nil {
		t.Errorf("the entry comes again: %v, %v", res, err)
	}
}

func TestFactTrimmingByLengthTakesWhatIsPending(t *testing.T) {
	t.Parallel()
	r, id := given(t)
	if err := r.client.XTrimMaxLen(t.Context(), r.stream, 0).Err(); err != nil {
		t.Fatal(err)
	}
	messages, _, deleted, err := r.client.XAutoClaimWithDeleted(t.Context(), &redis.XAutoClaimArgs{Stream: r.stream, Group: r.group, Consumer: "b", Start: "0"}).Result()
	if err != nil || len(messages) != 0 || len(deleted) != 1 || deleted[0] != id {
		t.Errorf("%v, deleted %v, %v", messages, deleted, err)
	}
}
