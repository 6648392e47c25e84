// Package redisstore keeps claims in Redis, Valkey or anything that speaks their
// protocol and runs Lua: one server, Sentinel's master, or a cluster. It takes
// the program's own [github.com/redis/go-redis/v9] client.
//
// The state machine of package claim is one Lua script, state.lua, which carries
// out one operation or a whole batch in one atomic call, with at most one write
// for each. The server's clock alone judges leases. Apply, of claim.Batcher,
// sends a batch in one trip; it is what makes Redis fast, and the methods for
// single operations go by it together when they are called at the same time
// (Options.NoCombining). On a single server a claim that meets no record goes without
// it, and a completion with nothing to keep by a short script, done.lua: the same for
// less of the server's time.
//
// Options.Packed chooses another layout of what is done, for many ids that are
// remembered for long: a quarter of the memory for more of the server's time.
//
// Options.Positions remembers what is done by its place in a log, as one bit.
//
// docs/redis.md says how to set up the server, what its persistence and its
// failovers mean for claims, and what a record looks like; docs/redis.acl is the
// least that its user may be allowed.
//
// # The client
//
// Set ContextTimeoutEnabled on it. Without it go-redis heeds no deadline, and
// every call then runs in a goroutine of its own, which is left behind if it
// must be, until the client's own timeouts end it. A call that is left behind can
// send nothing any more.
//
// go-redis sends a command again when its reply was lost, up to MaxRetries
// times, and a cluster client always does. That is harmless: the operations of
// package claim may be repeated.
//
// # Errors
//
// Errors match those of package claim and wrap go-redis's. What decides between
// ErrUnavailable and ErrUnknown is not the settings of the client but what it
// did: the store counts how often go-redis handed a command to a connection.
//
//	what came back                          handed over   answer
//	--------------------------------------  ------------  --------------
//	any error: context over, dial failed,   never         ErrUnavailable
//	pool exhausted, handshake refused, ...
//	the answer of the script                              as it says
//	to a claim that went without it: that                 claimed
//	there was nothing
//	the same: anything else                               the script is
//	                                                      asked
//	a reply that is not the answer to this                ErrCorrupt
//	request, or no reply of the protocol
//	an error reply that says that nothing   once          ErrUnavailable
//	ran: OOM, NOPERM, READONLY, LOADING,
//	BUSY, MISCONF, NOREPLICAS, MOVED, ...
//	the same                                repeatedly    ErrUnknown: an
//	                                                      earlier copy may
//	                                                      have run, or may
//	                                                      yet
//	any other error reply, which may come   at all        ErrUnknown
//	from the middle of a script
//	connection lost, deadline or context    at all        ErrUnknown
//	over while waiting
//	too few replicas (Options.WaitReplicas)               ErrUnknown: it has
//	                                                      happened here
//	a record that this version cannot read                ErrCorrupt, for that
//	                                                      operation alone
//	a write that the server refused inside  once          ErrUnavailable, for
//	the script                                            that operation alone
//	the same                                repeatedly    ErrUnknown
//
// A server that is over its maxmemory grants no claims. It still answers what is
// done or pending, and, from Redis 7 on, what ends or keeps a claim is carried
// out all the same: it makes records smaller, and without it finished work would
// be done again. An older server refuses it with ErrUnavailable.
//
// No error and no trace of go-redis shows an id, a token or a key: the
// arguments print as their length.
package redisstore
