package main

import (
	"context"
	"fmt"
	"io"
	"os"
)

// order is what is charged, as it is published.
type order struct {
	id   string // as a message id: see messageID
	data []byte
}

// source hands out orders until yield returns false, and returns why it could not
// hand out all.
type source func(yield func(order) bool) error

// made returns a source of n orders.
func made(n int) source {
	return func(yield func(order) bool) error {
		for i := 1; i <= n; i++ {
			id := fmt.Sprintf("order-%06d", i)
			data := fmt.Appendf(nil, `{"id":%q,"customer":"c-%03d","cents":%d}`, id, i%997, 100+i%9900)
			if !yield(order{id, data}) {
				break
			}
		}
		return nil
	}
}

// open returns the orders that the flags ask for. The caller calls done when it
// needs no more.
func (j *job) open(stdin io.Reader) (orders source, done func(), err error) {
	if j.in == "" {
		return made(j.Messages), func() {}, nil
	}
	l := &lines{in: stdin, path: j.idPath, limit: min(maxLine, j.publisher.room()), reject: j.reject}
	if j.in == "-" {
		return l.orders, func() {}, nil
	}
	f, err := os.Open(j.in)
	if err != nil {
		return nil, nil, fmt.Errorf("-in: %w", err)
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		_ = f.Close()
		return nil, nil, fmt.Errorf("-in: %s is a directory", j.in)
	}
	l.in = f
	return l.orders, func() { _ = f.Close() }, nil
}

// stream sends the source's orders to the channel that it returns, and closes it
// at the end. When the source fails it calls fail first. It stops when ctx ends,
// except that nothing ends a Read that waits for input.
func (s source) stream(ctx context.Context, fail func(error)) <-chan order {
	orders := make(chan order)
	go func() {
		defer close(orders)
		err := s(func(o order) bool {
			select {
			case orders <- o:
				return true
			case <-ctx.Done():
				return false
			}
		})
		if err != nil {
			fail(err)
		}
	}()
	return orders
}
