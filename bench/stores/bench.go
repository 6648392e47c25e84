//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/oncebus/once/testutil/nemesis"
	"github.com/oncebus/once/testutil/sqltest"
)

// bench is a run.
type bench struct {
	ctx    context.Context
	set    *settings
	stderr io.Writer
	report *report
	ids    ids

	dir         string
	directories int
	servers     map[string]*sqltest.Server
	redis       *opened // what everything is compared with
	ending      bool    // stores are opened for ids that end at once
	closers     []func()
}

// measure measures the candidates that are asked for, one after the other.
func measure(ctx context.Context, s *settings, args []string, stderr io.Writer) (r *report, err error) {
	b := &bench{ctx: ctx, set: s, stderr: stderr, report: newReport(s, args), servers: map[string]*sqltest.Server{}}
	defer b.close()
	if b.dir, err = os.MkdirTemp("", "once-stores-"); err != nil {
		return nil, fmt.Errorf("stores: %w", err)
	}
	if b.redis, err = candidates[0].open(b); err != nil {
		return nil, fmt.Errorf("stores: %w", err)
	}
	b.closers = append(b.closers, b.redis.close)
	for _, c := range candidates {
		if !s.only.MatchString(c.name) {
			continue
		}
		row := &figures{Name: c.name, Survives: c.survives}
		switch err := b.candidate(c, row); {
		case errors.Is(err, sqltest.ErrNotInstalled) || errors.Is(err, nemesis.ErrNoRedis):
			b.progress("%s: left out: %v", c.name, err)
			b.report.LeftOut = append(b.report.LeftOut, c.name)
		case ctx.Err() != nil:
			return nil, fmt.Errorf("stores: %s: %w", c.name, context.Cause(ctx))
		case err != nil:
			b.progress("%s: failed: %v", c.name, err)
			b.report.Failed = append(b.report.Failed, c.name+": "+err.Error())
		default:
			b.report.Stores = append(b.report.Stores, row)
		}
	}
	b.report.Elapsed = time.Since(b.report.Begun).Round(time.Second).String()
	return b.report, nil
}

// candidate fills a row of the report.
func (b *bench) candidate(c candidate, row *figures) error {
	for _, part := range []struct {
		name  string
		skip  bool
		fill  func(*opened, *figures) error
		after bool // its ids end at once
	}{
		{"rate", false, b.rates, false},
		{"bytes", c.variant, b.bytes, false},
		{"clean", c.variant, b.clean, true},
		{"filter", c.variant, b.filter, false},
		{"rows", c.variant, func(o *opened, row *figures) error { return b.rows(c, o, row) }, false},
	} {
		if part.skip || !b.set.wants(part.name) {
			continue
		}
		b.ending = part.after
		o, err := c.open(b)
		if err != nil {
			return err
		}
		if part.name == "rows" && o.sql == nil {
			o.close()
			continue
		}
		err = part.fill(o, row)
		o.close()
		if err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// close ends what the run started, last first.
func (b *bench) close() {
	for _, f := range slices.Backward(b.closers) {
		f()
	}
	if b.dir != "" {
		_ = os.RemoveAll(b.dir) // a leftover in the temporary directory harms nobody
	}
}

// progress tells a person what is going on.
func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(b.stderr, "%5.0fs  %s\n", time.Since(b.report.Begun).Seconds(), fmt.Sprintf(format, args...))
}
