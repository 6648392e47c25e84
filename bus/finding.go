package bus

import (
	"context"
	"errors"
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
	// Refuse cannot be worked with: the adapter's New returns an error.
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

// Finding is a setting of a bus that can lose or repeat messages, as an adapter's
// start check finds it.
type Finding struct {
	Severity Severity
	// Setting is its name where it is set, as the adapter's Check says, or words.
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

// Report logs findings and returns those that cannot be worked with as an error
// that wraps refusal, or nil. attrs are what the adapter says with each: which
// stream it is about, for one.
func Report(ctx context.Context, logger *slog.Logger, findings []Finding, refusal error, attrs ...any) error {
	var refused []error
	for _, f := range findings {
		if f.Severity == Refuse {
			refused = append(refused, errors.New(f.String()))
			continue
		}
		all := append([]any{"value", f.Value, "consequence", f.Consequence, "remedy", f.Remedy}, attrs...)
		logger.Log(ctx, f.Severity.level(), "bus: "+f.Setting+" can lose or repeat messages", all...)
	}
	if len(refused) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", refusal, errors.Join(refused...))
}
