// Package claim is the contract of a claim store: the shared memory in which
// the consumers of a message bus agree who runs the handler of a message, and
// which messages need no handler any more.
//
// Every message bus delivers at least once. A consumer that must take effect
// once asks the store for a claim before it runs a handler, marks the key done
// after the handler succeeded, and releases the claim after it failed. This
// package holds the words, the state machine and the errors that every store
// shares; package [github.com/oncebus/once/dedupe] is the consumer of it, and
// the packages under backends implement it.
//
// # Words
//
// A [Key] is a namespace, a consumer and a message id: two consumers of one
// message each run it once. A claim is the right to run the handler for a key,
// held by one owner until its lease ends. A [Token] is 16 random bytes that the
// claimant makes before the first send, anew for every attempt; it makes every
// operation safe to repeat. A fence is a number that strictly rises with every
// grant for a key, so that a downstream system can refuse a smaller one. An
// attempt is counted when it is granted, not when it fails, so that a crash or
// an out-of-memory kill counts too. The lease is how long a claim holds without
// being extended; the retention is how long a record is remembered after that.
// They are two settings and never the same one.
//
// # State machine
//
// A [Record] is pending, released, done or dead. It outlives its lease: expired
// means that the store's own clock has passed the deadline, so attempt and
// fence survive an expiry and no reaper is needed.
//
//	operation  the record is                         becomes, and the answer
//	---------  ------------------------------------  -------------------------------------------
//	TryClaim   absent, or released by another token  pending, attempt+1, higher fence: Claimed
//	           released by another, delay not over   unchanged: Pending, with the delay that remains
//	           pending, same token, lease alive      unchanged: Claimed, the same grant
//	           pending, same token, lease over       unchanged: Stale; take a new token
//	           released by the same token            unchanged: Stale; take a new token
//	           pending, other token, lease alive     unchanged: Pending, with the lease that remains
//	           pending, other token, lease over      pending, attempt+1, higher fence: Claimed,
//	                                                 a takeover; under Park unchanged: Parked
//	           claimable, but attempts used up       dead: Dead
//	           done                                  unchanged: Done, with the result that was kept
//	           dead                                  unchanged: Dead, with the reason
//	           any of them, another fingerprint      unchanged: Mismatch
//	Extend     pending and mine, lease over or not   later deadline
//	           anything else                         unchanged: ErrLost
//	MarkDone   pending and mine, lease over or not   done (over: a late commit, nobody took it)
//	           done by me                            unchanged, fine: the first reply was lost
//	           absent                                done, and reported as recovered
//	           anything else                         unchanged: ErrLost
//	MarkDead   pending and mine                      dead
//	           dead by me                            unchanged, fine: the first reply was lost
//	           anything else                         unchanged: ErrLost
//	Release    pending and mine                      released: keeps fence and attempt; without a
//	                                                 fence the attempt is given back
//	           absent                                released under that token for TombstoneTTL,
//	                                                 so that a late copy of the claim cannot land
//	           released by me                        unchanged, fine: the first reply was lost
//	           anything else                         unchanged: ErrLost
//	Forget     the expected state and fence          absent
//	           absent                                unchanged, fine
//	           anything else                         unchanged: ErrLost
//	Revive     the expected state and fence, and     released: claimable, attempts from zero, token
//	           not running                           kept, fence kept; of a done record at least the time
//	           revived before                        unchanged, fine: the first reply was lost
//	           anything else                         unchanged: ErrLost
//
// "Mine" means that token and fence are both those of the grant. Only Release
// accepts a grant without a fence, from a claimant that never saw the answer to
// its claim; the token alone decides then, and the attempt does not count, since
// no handler ran. A done record may keep no more of its owner than a stamp of
// the token ([Token.Stamp]). Of 9000 stale owners that finish late one then passes
// for the owner and is told "fine"; the message is done, and nothing changes. Of a
// key with a [Place] not even that need be kept, and whoever completes it again is
// told "fine". A record has room for the token of one owner: where several claims
// of one key were given up unanswered, a copy of an older one may still land, and
// then blocks the key for one lease. A key that is done in time, for the retention
// of its claim, keeps the end that the claim gave its record: what is left of the
// lease is added to the retention, and a store need not write another. Forget and
// Revive are for operators, through [Inspector].
//
// [Step] is this table as code. Stores that compute in Go apply it; the Redis
// store has the same machine in Lua. testutil/claimtest holds one case for each
// line above and runs against every store.
//
// # Rules
//
// Every store keeps nine rules.
//
//  1. One atomic write per transition; all arguments are checked before it.
//  2. Every operation may be repeated with the same arguments, at any delay, by
//     any network, and gives the same answer, or Stale, or ErrLost.
//  3. An operation whose token and fence are not current changes nothing.
//  4. Done and dead end by retention or an operator only.
//  5. Every record has an end. Nothing in a store grows without bound.
//  6. Time is the store's. Clients pass durations and never compare their clock
//     with the store's.
//  7. The zero [Outcome] is invalid. No error path can be read as Claimed.
//  8. A record of an unknown version is [ErrCorrupt], never "absent".
//  9. The fence is the larger of the stored fence plus one and the store's time
//     in microseconds, or the store's own revision where it has one.
//
// # Batches
//
// A store whose trips cost more than its operations is a [Batcher] too, and
// [Apply] hands it many operations at once. A [Combiner] gives the same to
// callers who have one each: their operations wait for nothing while the store
// is idle, and travel together while it is busy. Which operations share a trip
// makes no difference to their answers.
//
// # Crash points
//
// What a crash of the consumer leaves behind, and what the next delivery of the
// message finds:
//
//	p0  before the claim was sent       nothing; the next delivery claims
//	p1  claim in flight                 nothing, or p3
//	p2  claim executed, reply lost      p3; the same process repeats the claim and is Claimed
//	p3  claimed, handler not started    pending; after the lease the next delivery takes over
//	p4  in the handler                  as p3; the effect may have happened
//	p5  effect done, before MarkDone    as p3; the handler runs again unless the effect is guarded
//	                                    by a derived key or a transaction
//	p6  MarkDone executed, reply lost   done; the next delivery is answered Done
//	p7  done, before the bus was told   as p6
//	p8  the bus was told, or not        as p6
//
// Nothing is lost at any of them: a message ends done, or dead, or is still
// with the bus.
package claim
