// Package defaults fills in the options of the adapters.
package defaults

import (
	"fmt"
	"time"
)

// Filler puts defaults where an option is 0, and notes the first that is negative.
type Filler struct {
	of  string
	err error
}

// Of returns a Filler of the options with that name: "natsbus: Options".
func Of(options string) *Filler { return &Filler{of: options} }

// Int fills in a number.
func (f *Filler) Int(name string, option *int, standard int) { fill(f, name, option, standard) }

// Duration fills in a duration.
func (f *Filler) Duration(name string, option *time.Duration, standard time.Duration) {
	fill(f, name, option, standard)
}

// Err names the option that is negative, if one is.
func (f *Filler) Err() error { return f.err }

func fill[N int | time.Duration](f *Filler, name string, option *N, standard N) {
	if *option < 0 && f.err == nil {
		f.err = fmt.Errorf("%s.%s is negative: %v", f.of, name, *option)
	}
	if *option == 0 {
		*option = standard
	}
}
