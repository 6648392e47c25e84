//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
)

// profiled runs f, under a profile of the processor time if one is asked for.
func (b *bench) profiled(f func() error) error {
	dir := b.set.profile
	if dir == "" {
		return f()
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("bench: -profile: %w", err)
	}
	file, err := os.Create(filepath.Join(dir, "client.cpu.pprof"))
	if err != nil {
		return fmt.Errorf("bench: -profile: %w", err)
	}
	defer file.Close()
	if err := pprof.StartCPUProfile(file); err != nil {
		return fmt.Errorf("bench: -profile: %w", err)
	}
	err = f()
	pprof.StopCPUProfile()
	if err != nil {
		return err
	}
	info, err := b.redis.client.Info(b.ctx, "commandstats").Result()
	if err != nil {
		return fmt.Errorf("bench: -profile: %w", err)
	}
	allocs, err := os.Create(filepath.Join(dir, "client.allocs.pprof"))
	if err != nil {
		return fmt.Errorf("bench: -profile: %w", err)
	}
	defer allocs.Close()
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "server.commandstats.txt"), []byte(info), 0o644),
		pprof.Lookup("allocs").WriteTo(allocs, 0))
}
