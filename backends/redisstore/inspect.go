package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/claim"
)

// Get implements claim.Inspector. Errors match claim.ErrCorrupt or, since
// nothing can have happened, claim.ErrUnavailable.
func (s *Store) Get(ctx context.Context, key claim.Key) (claim.Entry, error) {
	if key.IsZero() {
		return claim.Entry{}, fmt.Errorf("redisstore: Get: %w: the key is zero", claim.ErrInvalid)
	}
	name := string(s.names.append(nil, key))
	var l logs
	place := l.spot(key)
	page, err := inTime(ctx, s, func() ([]claim.Entry, error) {
		return s.read(ctx, s.client, []string{name}, place)
	})
	if err != nil {
		return claim.Entry{}, fmt.Errorf("redisstore: Get: %w", err)
	}
	entry := page[0]
	if !entry.Key.IsZero() {
		entry.Key = key // with its place
	}
	return entry, nil
}

// List implements claim.Inspector. It walks the servers one after the other
// with SCAN, which holds none of them up for long; limit is its COUNT.
// Records that cannot be read make an error that matches claim.ErrCorrupt and
// names their digests, and the page and the cursor that come with it are good.
// A failover or a slot that moves during a listing may hide records from it, and
// so may, in the packed layout, their completion.
func (s *Store) List(ctx context.Context, filter claim.Filter, cursor string, limit int) (page []claim.Entry, next string, err error) {
	if limit < 1 {
		return nil, "", fmt.Errorf("redisstore: List: %w: limit is %d, want 1 or more", claim.ErrInvalid, limit)
	}
	type result struct {
		page []claim.Entry
		next string
	}
	r, err := inTime(ctx, s, func() (r result, err error) {
		r.page, r.next, err = s.list(ctx, cursor, limit)
		return r, err
	})
	if err != nil {
		err = fmt.Errorf("redisstore: List: %w", err)
		if !errors.Is(err, claim.ErrCorrupt) {
			return nil, "", err
		}
	}
	page = slices.DeleteFunc(r.page, func(e claim.Entry) bool {
		return e.State == claim.StateAbsent || !filter.Match(&e.Record)
	})
	return page, r.next, err
}

// list reads the page at cursor. A cursor is what SCAN returned, an @ and the
// address of the server that returned it.
func (s *Store) list(ctx context.Context, cursor string, limit int) (page []claim.Entry, next string, err error) {
	servers, err := s.servers(ctx)
	if err != nil {
		return nil, "", err
	}
	at, position := 0, uint64(0)
	if cursor != "" {
		number, addr, _ := strings.Cut(cursor, "@")
		if position, err = strconv.ParseUint(number, 10, 64); err != nil {
			return nil, "", fmt.Errorf("%w: the cursor is not one of List", claim.ErrInvalid)
		}
		at = slices.IndexFunc(servers, func(v server) bool { return v.addr == addr })
		if at < 0 {
			return nil, "", fmt.Errorf("%w: the cursor's server holds no records any more, start again", claim.ErrInvalid)
		}
	}
	v := servers[at]
	names, position, err := v.client.Scan(ctx, position, globEscape(s.names.prefix)+"*", int64(limit)).Result()
	if err != nil {
		return nil, "", claim.Unavailable(plain(err))
	}
	// Other keys may begin with the prefix. Ours are longer by a digest, or, in the
	// packed layout, by what names a bucket.
	page, err = s.read(ctx, v.client, ofLength(names, s.names.bytes()+len(claim.Digest{})), spot{})
	if s.packing != nil && (err == nil || errors.Is(err, claim.ErrCorrupt)) {
		marked, failure := s.readBuckets(ctx, v.client, ofLength(names, s.names.bytes()+bucketNameBytes))
		page = append(page, marked...)
		switch {
		case failure == nil:
		case err == nil || !errors.Is(failure, claim.ErrCorrupt):
			err = failure
		default:
			err = fmt.Errorf("%w; %w", err, failure)
		}
	}
	switch {
	case position != 0:
		next = strconv.FormatUint(position, 10) + "@" + v.addr
	case at+1 < len(servers):
		next = "0@" + servers[at+1].addr
	}
	return page, next, err
}

// server is one that holds records, under a name that a cursor can carry.
type server struct {
	addr   string
	client redis.UniversalClient
}

// servers returns the servers that hold records, in an order that stays.
func (s *Store) servers(ctx context.Context) ([]server, error) {
	var (
		mu   sync.Mutex
		list []server
	)
	err := s.eachServer(ctx, func(_ context.Context, client redis.UniversalClient) error {
		v := server{client: client}
		if node, ok := client.(*redis.Client); ok && s.routed {
			v.addr = node.Options().Addr
		}
		mu.Lock()
		list = append(list, v)
		mu.Unlock()
		return nil
	})
	slices.SortFunc(list, func(a, b server) int { return strings.Compare(a.addr, b.addr) })
	return list, err
}

// globEscape returns prefix as a pattern of SCAN that matches it alone.
func globEscape(prefix string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(prefix)
}

func ofLength(names []string, length int) (of []string) {
	for _, name := range names {
		if len(name) == length {
			of = append(of, name)
		}
	}
	return of
}

// read returns the records under names, which are keys of ours. place is that of the
// only one, or of none. The entries of those that cannot be read are left out, and
// named in the error.
func (s *Store) read(ctx context.Context, client redis.UniversalClient, names []string, place spot) ([]claim.Entry, error) {
	groups, replies, err := s.readGroups(ctx, client, readScript, names, place)
	if err != nil {
		return nil, err
	}
	var (
		page    []claim.Entry
		corrupt []string
	)
	for i, group := range groups {
		if len(replies[i]) != 1+2*len(group) {
			return nil, errReply
		}
		for j, name := range group {
			digest := claim.Digest([]byte(name[s.names.bytes():]))
			entry, ok := decodeEntry(replies[i], j, digest)
			if !ok {
				corrupt = append(corrupt, digest.String())
				continue
			}
			page = append(page, entry)
		}
	}
	if corrupt != nil {
		err = fmt.Errorf("%w: %s", errRecord, strings.Join(corrupt, ", "))
	}
	return page, err
}

// readGroups runs a script that reads for groups of names, many to a call, or one
// where they may be in several slots, all in one trip. When a server does not know
// the script it runs them all once more, with its text: reading twice does no
// harm.
func (s *Store) readGroups(ctx context.Context, client redis.UniversalClient, script *script, names []string, place spot) (groups [][]string, replies [][]any, err error) {
	size := 1
	if s.together {
		size = s.maxBatch
	}
	groups = slices.Collect(slices.Chunk(names, size))
	if len(groups) == 0 {
		return nil, nil, nil
	}
	var cmds []redis.Cmder
	for _, how := range [...][2]any{script.evalsha, script.eval} {
		cmds = cmds[:0]
		for _, group := range groups {
			cmds = append(cmds, redis.NewSliceCmd(ctx, s.readArgs(how, group, place)...))
		}
		err := pipelined(ctx, client, cmds)
		if err == nil {
			break
		}
		if !slices.ContainsFunc(cmds, func(cmd redis.Cmder) bool { return lacksScript(cmd.Err()) }) {
			return nil, nil, claim.Unavailable(plain(err))
		}
	}
	replies = make([][]any, len(groups))
	for i, cmd := range cmds {
		values, err := cmd.(*redis.SliceCmd).Result()
		if err != nil {
			return nil, nil, claim.Unavailable(plain(err))
		}
		replies[i] = values
	}
	return groups, replies, nil
}

// readArgs returns the arguments of a script call that reads names.
func (s *Store) readArgs(how [2]any, names []string, place spot) []any {
	args := append(make([]any, 0, 5+len(names)), how[0], how[1], len(names))
	if p := s.packing; p != nil {
		args[2] = 1 + len(names)
		args = append(args, p.layoutOf(names[0]))
	}
	for _, name := range names {
		args = append(args, name)
	}
	var bits chunks
	placed := s.names.positions != 0 && bits.of(s.names, []spot{place})
	if placed {
		args[2] = args[2].(int) + 1
		args = append(args, &bits.names[0])
	}
	if p := s.packing; p != nil {
		args = append(args, &p.head)
	}
	if placed {
		args = append(args, &bits.text)
	}
	return args
}

// decodeTime reads the time in the answer of a script that reads.
func decodeTime(values []any) (claim.Instant, bool) {
	text, _ := values[0].(string)
	now, err := strconv.ParseInt(text, 10, 64)
	return claim.Instant(now), err == nil
}

// decodeEntry reads the answer about the key at index i.
func decodeEntry(values []any, i int, d claim.Digest) (entry claim.Entry, ok bool) {
	now, ok := decodeTime(values)
	left, ok2 := values[2+2*i].(int64)
	if !ok || !ok2 {
		return entry, false
	}
	entry.Digest, entry.Now = d, now
	switch value := values[1+2*i].(type) {
	case nil:
		return entry, true
	case int64:
		// The bit of its place says that it is done, and not by whom.
		entry.Record = claim.Record{State: claim.StateDone, Expires: now + claim.Instant(left)}
		return entry, value == 1
	case string:
		// A record in its last millisecond is there, to the script as well.
		expires := entry.Now + claim.Instant(max(1, left))
		if entry.Record, ok = decodeRecord(value, d, expires); !ok {
			return entry, false
		}
		return entry, left >= 0 // ours have an end
	}
	return entry, false
}
