package redisbus

import (
	"fmt"
	"log/slog"
)

// Severity is how bad a finding is.
type Severity uint8

// The severities. The zero Severity is invalid.
const (
	// Note is worth knowing and right for many.
	Note Severity = iota + 1
	// Warn can lose messages, or repeat them without need.
	Warn
	// Refuse cannot be worked with: New returns an error.
	Refuse
)

// String returns the severity in lower case.
func (s Severity) String() string {
	switch s {
	case Note:
		return "note"
	case Warn:
		return "warn"
	case Refuse:
		return "refuse"
	}
	return fmt.Sprintf("severity(%d)", uint8(s))
}

func (s Severity) level() slog.Level {
	if s == Note {
		return slog.LevelInfo
	}
	return slog.LevelWarn
}

// Finding is a setting that can lose or repeat messages.
type Finding struct {
	Severity Severity
	// Setting is its name in redis.conf, in Options, or in words.
	Setting string
	// Value is what it is set to.
	Value string
	// Consequence is what happens with it.
	Consequence string
	// Remedy is what to do.
	Remedy string
}

// String returns the finding in one line.
func (f Finding) String() string {
	return fmt.Sprintf("%s %s: %s; %s", f.Setting, f.Value, f.Consequence, f.Remedy)
}
