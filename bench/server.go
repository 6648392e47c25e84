//go:build linux

package main

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/testutil/nemesis"
)

// server is a redis-server of this run.
type server struct {
	*nemesis.Redis
	client *redis.Client // of the program, for looking
}

// start starts a server that ends with the run, or by its Close.
func (b *bench) start() (*server, error) {
	b.servers++
	r, err := nemesis.StartRedis(filepath.Join(b.dir, strconv.Itoa(b.servers)), nil)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	s := &server{r, redis.NewClient(&redis.Options{Addr: r.Addr})}
	b.closers = append(b.closers, s.Close)
	return s, nil
}

// Close ends the server. It may be called again.
func (s *server) Close() {
	_ = s.client.Close()
	s.Redis.Close()
}

// flush drops all records and keeps the scripts.
func (s *server) flush() error {
	return s.client.FlushAll(context.Background()).Err()
}

// cpu returns the processor time that the server has used.
func (s *server) cpu() (time.Duration, error) {
	info, err := s.info("cpu")
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, name := range []string{"used_cpu_user", "used_cpu_sys"} {
		seconds, err := strconv.ParseFloat(info[name], 64)
		if err != nil {
			return 0, fmt.Errorf("bench: INFO cpu: %s: %w", name, err)
		}
		sum += time.Duration(seconds * 1e9)
	}
	return sum, nil
}

// memory returns the bytes that the server has allocated.
func (s *server) memory() (int64, error) {
	info, err := s.info("memory")
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(info["used_memory"], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("bench: INFO memory: %w", err)
	}
	return n, nil
}

// command is what the server did for one kind of command.
type command struct {
	Name  string  `json:"name"`
	Calls float64 `json:"calls"` // a message
	Time  float64 `json:"us"`    // a message, without the system calls
}

// resetCommands begins to count commands.
func (s *server) resetCommands() error {
	return s.client.ConfigResetStat(context.Background()).Err()
}

// commands returns what commands cost since resetCommands, by message.
func (s *server) commands(messages int) ([]command, error) {
	info, err := s.info("commandstats")
	if err != nil {
		return nil, err
	}
	var all []command
	for key, value := range info {
		name, ok := strings.CutPrefix(key, "cmdstat_")
		if !ok || name == "info" || strings.HasPrefix(name, "config") {
			continue
		}
		c := command{Name: name}
		for field := range strings.SplitSeq(value, ",") {
			what, number, _ := strings.Cut(field, "=")
			n, _ := strconv.ParseFloat(number, 64) // zero is what an unknown form may show
			switch what {
			case "calls":
				c.Calls = significant(n / float64(messages))
			case "usec":
				c.Time = significant(n / float64(messages))
			}
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(x, y command) int { return cmp.Compare(y.Time, x.Time) })
	return all, nil
}

// info returns a section of INFO.
func (s *server) info(section string) (map[string]string, error) {
	text, err := s.client.Info(context.Background(), section).Result()
	if err != nil {
		return nil, fmt.Errorf("bench: INFO %s: %w", section, err)
	}
	m := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			m[name] = value
		}
	}
	return m, nil
}
