//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
)

// profiled runs f, under a profile of the processor time if one is asked for.
// What was allocated is the difference of two files: go tool pprof -diff_base.
func (b *bench) profiled(f func() error) (err error) {
	dir := b.set.profile
	if dir == "" {
		return f()
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("bench: -profile: %w", err)
		}
	}()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(dir, "client.cpu.pprof"))
	if err != nil {
		return err
	}
	defer file.Close()
	if err := writeAllocs(filepath.Join(dir, "client.allocs.base.pprof")); err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return err
	}
	err = f()
	pprof.StopCPUProfile()
	if err != nil {
		return err
	}
	info, err := b.redis.client.Info(b.ctx, "commandstats").Result()
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "server.commandstats.txt"), []byte(info), 0o644),
		writeAllocs(filepath.Join(dir, "client.allocs.pprof")))
}

func writeAllocs(name string) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	defer file.Close()
	runtime.GC() // the profile is as of the last collection
	return pprof.Lookup("allocs").WriteTo(file, 0)
}
