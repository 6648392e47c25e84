package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/oncebus/once/claim"
)

// Inbox runs work in a transaction of the database in which the record of its key
// is kept, so that the work's own writes there and the record commit together:
// their effect happens once, whatever breaks, and nothing needs a lease. T is the
// client's transaction: *sql.Tx, or pgx.Tx in package pgxstore. An Inbox and a
// Store may serve the same keys. It is safe for concurrent use.
type Inbox[T any] struct {
	store *Store
	begin Begin[T]
	opts  InboxOptions
}

// Begin starts a transaction of a client. It must last until Commit or Rollback,
// or until ctx ends.
type Begin[T any] func(ctx context.Context) (Transaction[T], error)

// Transaction is one of a client's.
type Transaction[T any] struct {
	// Tx is what the work gets.
	Tx T
	// Conn runs statements in it.
	Conn Conn
	// Commit ends it, within ctx as far as the driver can. Rollback gives it up.
	Commit, Rollback func(ctx context.Context) error
}

// InboxOptions are the settings of an Inbox. The zero value, like nil, is ready
// to use.
type InboxOptions struct {
	// Retention is how long a key is remembered as done. Defaults to 24 hours; at
	// most claim.MaxRetention.
	Retention time.Duration
	// MaxAttempts is how often the work of a key may fail before the key is dead.
	// Each failure is then recorded, in a transaction of its own after the work's
	// was rolled back. A process that dies is not counted. Defaults to 0, no limit.
	MaxAttempts int
	// LockTimeout bounds the wait for other transactions on the same key, where the
	// database cannot tell at once. Defaults to 1 s.
	LockTimeout time.Duration
	// CommitTimeout bounds a COMMIT, and how long its outcome is looked for when the
	// answer was lost. Defaults to 15 s.
	CommitTimeout time.Duration
	// MaxRetries is how often work is run again at once that failed for a deadlock
	// or a serialization failure. Defaults to 10.
	MaxRetries int
	// Isolation is the level of the transactions. Defaults to the database's own,
	// and to READ COMMITTED on MySQL, where a higher one locks keys that are not
	// there yet.
	Isolation sql.IsolationLevel
}

func (o *InboxOptions) withDefaults() (InboxOptions, error) {
	var c InboxOptions
	if o != nil {
		c = *o
	}
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{{&c.Retention, 24 * time.Hour}, {&c.LockTimeout, time.Second}, {&c.CommitTimeout, 15 * time.Second}} {
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	if c.MaxRetries == 0 {
		c.MaxRetries = 10
	}
	switch {
	case c.Retention < claim.MinRetention || c.Retention > claim.MaxRetention:
		return c, invalid("InboxOptions.Retention is %v, want %v to %v", c.Retention, claim.MinRetention, claim.MaxRetention)
	case c.MaxAttempts < 0 || c.MaxAttempts > claim.MaxAttempts:
		return c, invalid("InboxOptions.MaxAttempts is %d, want 0 to %d", c.MaxAttempts, claim.MaxAttempts)
	case c.LockTimeout < time.Millisecond:
		return c, invalid("InboxOptions.LockTimeout is %v, want at least 1ms", c.LockTimeout)
	case c.CommitTimeout < time.Millisecond:
		return c, invalid("InboxOptions.CommitTimeout is %v, want at least 1ms", c.CommitTimeout)
	case c.MaxRetries < 0:
		return c, invalid("InboxOptions.MaxRetries is %d, want 1 or more", c.MaxRetries)
	}
	return c, nil
}

// NewInbox returns an Inbox on db, in which store has its tables. Nil options mean
// the defaults.
func NewInbox(store *Store, db *sql.DB, o *InboxOptions) (*Inbox[*sql.Tx], error) {
	if db == nil {
		return nil, invalid("the database is nil")
	}
	isolation := sql.LevelDefault
	if o != nil {
		isolation = o.Isolation
	}
	if isolation == sql.LevelDefault && store != nil && store.dialect == MySQL {
		isolation = sql.LevelReadCommitted
	}
	return NewInboxOn(store, func(ctx context.Context) (Transaction[*sql.Tx], error) {
		ctx, cancel := context.WithCancel(ctx)
		tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: isolation})
		if err != nil {
			cancel()
			return Transaction[*sql.Tx]{}, err
		}
		return Transaction[*sql.Tx]{
			Tx:   tx,
			Conn: OfTx(tx),
			Commit: func(within context.Context) error {
				// database/sql bounds a COMMIT by the context of its BEGIN.
				defer context.AfterFunc(within, cancel)()
				defer cancel()
				return tx.Commit()
			},
			Rollback: func(context.Context) error {
				defer cancel()
				return tx.Rollback()
			},
		}, nil
	}, o)
}

// NewInboxOn is NewInbox for another client than database/sql's.
func NewInboxOn[T any](store *Store, begin Begin[T], o *InboxOptions) (*Inbox[T], error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if store == nil {
		return nil, invalid("the store is nil")
	}
	return &Inbox[T]{store: store, begin: begin, opts: opts}, nil
}

// OfTx returns tx as a Conn, for Publish.
func OfTx(tx *sql.Tx) Conn { return sqlConn{tx, nil} }

// Run runs work in a transaction, unless it is done for key, and commits both.
// The outcome says what happened:
//
//	Claimed   work ran and is committed, with the record that it is done
//	Done      it was before; work did not run
//	Pending   another transaction works on key, or a Store's claim holds it; come
//	          back after Remaining, or soon where that is zero
//	Dead      it failed too often
//	Mismatch  key is known with another fingerprint
//
// With an error nothing is committed, but for ErrUnknown: that COMMIT was lost and
// its outcome could not be found in time; run it again. The error of work is
// returned as it is, after a rollback, unless it is that of a deadlock or a
// serialization failure: then work runs again. It must do nothing that the
// transaction does not take back, and must not end the transaction itself.
func (b *Inbox[T]) Run(ctx context.Context, key claim.Key, fp claim.Fingerprint, work func(ctx context.Context, tx T) error) (claim.Verdict, error) {
	op := claim.Op{Kind: claim.OpTryClaim, Key: key, Request: claim.Request{
		TTL: claim.MinTTL, Retention: b.opts.Retention, Fingerprint: fp, MaxAttempts: b.opts.MaxAttempts,
	}}
	for try := 1; ; try++ {
		op.Request.Token = claim.NewToken() // each transaction has its own
		if err := op.Validate(); err != nil {
			return claim.Verdict{}, wrap(&op, err)
		}
		if ctx.Err() != nil {
			return claim.Verdict{}, wrap(&op, unavailable(ctx, ctx.Err()))
		}
		t := turn[T]{Inbox: b, op: &op, digest: key.Digest()}
		verdict, err := t.run(ctx, work)
		switch {
		case err == nil && verdict.Outcome == claim.Dead:
			b.store.applyOne(ctx, &op) // it may have died just now
			return op.Verdict, op.Err
		case err == nil:
			return verdict, nil
		case !errors.Is(err, errAgain) && !transient(err):
			return claim.Verdict{}, t.failed(ctx, err)
		case try > b.opts.MaxRetries || !pause(ctx, try):
			return claim.Verdict{}, wrap(&op, unavailable(ctx, err))
		}
	}
}

// errAgain says that nothing is committed and that the whole may be run again.
var errAgain = errors.New("sqlstore: the transaction did not commit")

func wrap(op *claim.Op, err error) error {
	return &claim.Error{Op: op.Kind, Key: op.Key, Err: err}
}

// turn is one transaction of an Inbox.
type turn[T any] struct {
	*Inbox[T]
	op     *claim.Op
	digest claim.Digest
	// workErr is what work returned.
	workErr error
}

func (t *turn[T]) run(ctx context.Context, work func(context.Context, T) error) (claim.Verdict, error) {
	// Once it has begun, the transaction does not end with ctx, so that a COMMIT is
	// not cut off by it.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	begun := context.AfterFunc(ctx, end)
	tx, err := t.begin(life)
	begun()
	if err != nil {
		return claim.Verdict{}, wrap(t.op, unavailable(ctx, err))
	}
	ended := false
	defer func() { // also when work panics or leaves the goroutine
		if !ended {
			_ = tx.Rollback(context.WithoutCancel(ctx))
		}
	}()
	verdict, err := t.claim(ctx, tx.Conn)
	if err != nil || verdict.Outcome != claim.Claimed {
		return verdict, err
	}
	if t.workErr = work(context.WithValue(ctx, runKey{}, &runOf{store: t.store, conn: tx.Conn, digest: t.digest}), tx.Tx); t.workErr != nil {
		return claim.Verdict{}, t.workErr
	}
	ended = true
	return verdict, t.commit(ctx, tx)
}

// claim locks the key for the transaction and writes that it is done, which
// nobody sees until the transaction commits.
func (t *turn[T]) claim(ctx context.Context, conn Conn) (claim.Verdict, error) {
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, t.opts.LockTimeout)
	defer cancel()
	free, err := t.store.lock(ctx, conn, t.digest)
	if err == nil && !free {
		return claim.Verdict{Outcome: claim.Pending}, nil
	}
	g := &group{ops: []*claim.Op{t.op}, change: change{digest: t.digest}}
	if err == nil {
		_, err = t.store.step(ctx, conn, []*group{g})
	}
	if err == nil && t.op.Err != nil {
		return claim.Verdict{}, t.op.Err // a row that cannot be read
	}
	granted := err == nil && t.op.Verdict.Outcome == claim.Claimed
	if granted {
		if err = t.finish(g); err == nil {
			err = t.store.table.write(ctx, conn, []*change{&g.change})
		}
	}
	switch {
	case granted && err == nil && !g.applied:
		return claim.Verdict{}, errAgain // a Store was faster
	case err == nil:
		return t.op.Verdict, nil
	case caller.Err() != nil:
	case lockTimeout(err) && t.store.dialect != SQLite, ctx.Err() != nil:
		return claim.Verdict{Outcome: claim.Pending}, nil
	case transient(err):
		return claim.Verdict{}, err
	}
	return claim.Verdict{}, wrap(t.op, unavailable(ctx, err))
}

// finish makes a granted claim one that is done. The row keeps the token, by which
// a COMMIT without an answer is found.
func (t *turn[T]) finish(g *group) error {
	rec, ok := g.next.record(t.digest)
	if !ok {
		return errRow
	}
	done := claim.Op{Kind: claim.OpMarkDone, Key: t.op.Key, Grant: t.op.Verdict.Grant, Completion: claim.Completion{Retention: t.opts.Retention}}
	rec, _ = claim.Step(rec, &done, rec.Deadline.Add(-t.op.Request.TTL))
	if done.Err != nil {
		return done.Err
	}
	g.next = newRow(&rec)
	g.next.token = t.op.Request.Token[:]
	return nil
}

// commit commits the transaction and finds out whether it did when the answer was
// lost.
func (t *turn[T]) commit(ctx context.Context, tx Transaction[T]) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.opts.CommitTimeout)
	defer cancel()
	err := tx.Commit(ctx)
	switch {
	case err == nil:
		return nil
	case refused(err):
		if transient(err) {
			return err
		}
		return wrap(t.op, unavailable(ctx, err))
	}
	for try := 2; ; try++ {
		committed, asked := t.committed(ctx)
		switch {
		case asked == nil && committed:
			return nil
		case asked == nil:
			return fmt.Errorf("%w: %w", errAgain, plain(ctx, err))
		case !pause(ctx, try):
			return wrap(t.op, claim.Unknown(plain(ctx, err)))
		}
	}
}

// errHeld says that the transaction whose outcome is looked for has not ended.
var errHeld = errors.New("sqlstore: the transaction has not ended")

// committed reports whether the turn's row is there, once the turn's transaction
// has ended: until then it holds the lock.
func (t *turn[T]) committed(ctx context.Context) (bool, error) {
	tx, err := t.begin(ctx)
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if free, err := t.store.lock(ctx, tx.Conn, t.digest); err != nil {
		return false, err
	} else if !free {
		return false, errHeld
	}
	rows, _, err := t.store.read(ctx, tx.Conn, []*group{{change: change{digest: t.digest}}})
	r, ok := rows[t.digest]
	return ok && string(r.token) == string(t.op.Request.Token[:]), err
}

// failed returns the error of a turn that is not run again, and records it when
// it was the work's and failures count.
func (t *turn[T]) failed(ctx context.Context, err error) error {
	if t.workErr == nil || t.opts.MaxAttempts == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.opts.CommitTimeout)
	defer cancel()
	claimed := claim.Op{Kind: claim.OpTryClaim, Key: t.op.Key, Request: t.op.Request}
	if claimed.Request.Token = claim.NewToken(); claimed.Err == nil {
		t.store.applyOne(ctx, &claimed)
	}
	if claimed.Err != nil || claimed.Verdict.Outcome != claim.Claimed {
		return err // somebody else goes on with it, or the store is down: then nothing counts
	}
	_ = t.store.Release(ctx, t.op.Key, claimed.Verdict.Grant, 0)
	return err
}

// lock locks a key until the transaction of conn ends. It reports false, at once,
// when another transaction has it.
func (s *Store) lock(ctx context.Context, conn Conn, digest claim.Digest) (free bool, err error) {
	switch s.dialect {
	case Postgres:
		err = conn.Query(ctx, "SELECT pg_try_advisory_xact_lock($1::bigint)", []any{lockNumber(digest)},
			func(scan func(...any) error) error { return scan(&free) })
		return free, err
	case MySQL:
		err = run(ctx, conn, fmt.Sprintf("SELECT digest FROM %s WHERE digest = %s FOR UPDATE NOWAIT", s.claims(), s.dialect.bytes(digest[:])))
		if lockTimeout(err) {
			return false, nil
		}
		return err == nil, err
	}
	// SQLite has one lock, for whoever writes first.
	_, err = conn.Exec(ctx, fmt.Sprintf("UPDATE %s SET state = state WHERE digest = x''", s.claims()))
	return err == nil, err
}

// lockNumber is the number of a key among PostgreSQL's advisory locks. Another key,
// or another program, with the same number would only make this one wait.
func lockNumber(d claim.Digest) (n int64) {
	for _, b := range d[:8] {
		n = n<<8 | int64(b)
	}
	return n
}
