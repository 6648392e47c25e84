//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
)

// raw is a client that does nothing but write commands and read their replies: as
// little as a client of Redis can do.
type raw struct {
	conn net.Conn
	in   *bufio.Reader
	out  []byte
	sent int
}

func dialRaw(addr string) (*raw, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	return &raw{conn: conn, in: bufio.NewReaderSize(conn, 64<<10)}, nil
}

// set adds a SET key value PX ms to what flush sends. The key is made of two
// parts.
func (r *raw) set(prefix, key, value string, ms int) {
	b := append(r.out, "*5\r\n$3\r\nSET\r\n$"...)
	b = strconv.AppendInt(b, int64(len(prefix)+len(key)), 10)
	b = append(b, "\r\n"...)
	b = append(append(b, prefix...), key...)
	b = append(b, "\r\n$"...)
	b = strconv.AppendInt(b, int64(len(value)), 10)
	b = append(b, "\r\n"...)
	b = append(b, value...)
	b = append(b, "\r\n$2\r\nPX\r\n$"...)
	b = strconv.AppendInt(b, int64(digits(ms)), 10)
	b = append(b, "\r\n"...)
	b = strconv.AppendInt(b, int64(ms), 10)
	r.out = append(b, "\r\n"...)
	r.sent++
}

func digits(n int) (d int) {
	for d = 1; n > 9; n /= 10 {
		d++
	}
	return d
}

// flush sends the commands and reads a reply for each, which must be OK.
func (r *raw) flush() error {
	if _, err := r.conn.Write(r.out); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	r.out = r.out[:0]
	for ; r.sent > 0; r.sent-- {
		line, err := r.in.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("bench: %w", err)
		}
		if !bytes.Equal(line, []byte("+OK\r\n")) {
			return fmt.Errorf("bench: the server answered %q to SET", line)
		}
	}
	return nil
}

// The sizes of what the store writes: a pending record of a message with an id
// like ours, and a done one, which the server keeps as an integer.
const (
	prefix       = "once:"
	pendingBytes = 109
	doneValue    = "1763"
	leaseMS      = 30_000
	retentionMS  = 86_400_000

	ceilingConns = 4
	batchSize    = 100
)

// ceiling is R: two plain SETs a message, as the store writes one for a claim and
// one for a completion, a hundred at a time.
func (b *bench) ceiling() (*way, error) {
	conns := make([]*raw, ceilingConns)
	for i := range conns {
		var err error
		if conns[i], err = dialRaw(b.redis.Addr); err != nil {
			return nil, err
		}
		b.closers = append(b.closers, func() { _ = conns[i].conn.Close() })
	}
	pending := strings.Repeat("p", pendingBytes)
	return &way{name: "R", callers: ceilingConns, per: batchSize, server: b.redis, timed: true,
		open: func(caller int) (func(uint64) error, error) {
			c := conns[caller]
			return func(n uint64) error {
				for i := range uint64(batchSize) {
					c.set(prefix, b.ids.at(n + i)[:16], pending, leaseMS)
				}
				if err := c.flush(); err != nil {
					return err
				}
				for i := range uint64(batchSize) {
					c.set(prefix, b.ids.at(n + i)[:16], doneValue, retentionMS)
				}
				return c.flush()
			}, nil
		}}, nil
}

// remember writes n done records as the store keeps them, under digests that no
// message has. It writes half of them twice: a server moves its records into a
// larger table little by little with each command, and costs more until it has.
func remember(s *server, n int, seed uint64) error {
	r, err := dialRaw(s.Addr)
	if err != nil {
		return err
	}
	defer r.conn.Close()
	for _, part := range []int{n, n / 2} {
		random := rand.New(rand.NewPCG(seed, 2))
		var digest [16]byte
		for i := range part {
			binary.LittleEndian.PutUint64(digest[:], random.Uint64())
			binary.LittleEndian.PutUint64(digest[8:], random.Uint64())
			r.set(prefix, string(digest[:]), doneValue, retentionMS)
			if i%1000 == 999 || i == part-1 {
				if err := r.flush(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
