package drill

import (
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
)

// Flags are the flags that several examples have. What they are set to before
// Define is the default; Workers and the shares of Trouble that are 0 then have no
// flag.
type Flags struct {
	Trouble
	Messages int
	Workers  int
	JSON     bool // print the summary as JSON too
	Off      bool // switch the deduplication off
	Verbose  bool

	// Run is the name of this run, which no other has, for what it makes on servers.
	Run string
	// Stderr is where everything goes that is not the summary.
	Stderr io.Writer

	set    *flag.FlagSet
	shares []share
}

// share is a flag from 0 to 1.
type share struct {
	name  string
	value *float64
}

// Define defines the flags of a program and returns the set, for further ones.
func (f *Flags) Define(program string, stderr io.Writer) *flag.FlagSet {
	f.Run, f.Stderr = "once-example-"+rand.Text()[:8], stderr
	f.set = flag.NewFlagSet(program, flag.ContinueOnError)
	f.set.SetOutput(stderr)
	f.set.IntVar(&f.Messages, "messages", f.Messages, "how many `messages` to make up, one for an order")
	if f.Workers > 0 {
		f.set.IntVar(&f.Workers, "workers", f.Workers, "how many `handlers` run at a time")
	}
	for _, s := range []struct {
		share
		usage string
	}{
		{share{"duplicates", &f.Duplicates}, "`share` of the orders that are sent again"},
		{share{"fail", &f.Fail}, "`share` of the handler's runs that fail"},
		{share{"panic", &f.Panic}, "`share` of the handler's runs that panic"},
		{share{"slow", &f.Slow}, "`share` of the orders whose handler takes longer than the bus waits"},
		{share{"vanish", &f.Vanish}, "`share` of the orders whose worker is gone, once, before the ack"},
	} {
		if *s.value > 0 {
			f.Share(s.value, s.name, *s.value, s.usage)
		}
	}
	f.set.Uint64Var(&f.Seed, "seed", 1, "what all chance is derived from")
	f.set.BoolVar(&f.JSON, "json", false, "print the summary as JSON on the last line of the standard output")
	f.set.BoolVar(&f.Off, "off", false, "switch the deduplication off, to see what the proof says then")
	f.set.BoolVar(&f.Verbose, "v", false, "log what the libraries have to say")
	return f.set
}

// Share defines a flag from 0 to 1.
func (f *Flags) Share(p *float64, name string, value float64, usage string) {
	f.set.Float64Var(p, name, value, usage)
	f.shares = append(f.shares, share{name, p})
}

// Check notes that a flag is wrong unless ok.
type Check func(ok bool, format string, args ...any)

// Parse reads args; further, if not nil, checks the flags that the program added.
// What is wrong has been printed when Parse returns an error; that is flag.ErrHelp
// when the args ask for help.
func (f *Flags) Parse(args []string, further func(Check)) error {
	if err := f.set.Parse(args); err != nil {
		return err
	}
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(f.set.NArg() == 0, "%q is no flag", f.set.Args())
	check(f.Messages >= 0, "-messages is %d, want 0 or more", f.Messages)
	if f.set.Lookup("workers") != nil {
		check(f.Workers >= 1 && f.Workers <= 1000, "-workers is %d, want 1 to 1000", f.Workers)
	}
	for _, s := range f.shares {
		check(*s.value >= 0 && *s.value <= 1, "-%s is %v, want 0 to 1", s.name, *s.value)
	}
	if further != nil {
		further(check)
	}
	if len(errs) == 0 {
		return nil
	}
	err := errors.Join(errs...)
	f.Say("%v", err)
	f.Say("-h lists the flags")
	return err
}

// Status returns the exit status for what Parse returned.
func Status(err error) int {
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	return 2
}

// Say prints a line to Stderr that begins with the program's name.
func (f *Flags) Say(format string, args ...any) {
	fmt.Fprintf(f.Stderr, f.set.Name()+": "+format+"\n", args...)
}

// Abort says why there is no run, and returns the exit status for that.
func (f *Flags) Abort(err error) int {
	f.Say("%v", err)
	return 2
}

// Logger returns a logger that writes to Stderr with -v, and drops everything
// without.
func (f *Flags) Logger() *slog.Logger {
	if f.Verbose {
		return slog.New(slog.NewTextHandler(f.Stderr, nil))
	}
	return slog.New(slog.DiscardHandler)
}
