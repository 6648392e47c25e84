// Package drill is what the example programs have in common: flags, the trouble
// that they make for their own handlers, and the summary with which a run ends. The
// charges themselves are in package ledger.
//
// A program puts Flags into its configuration, gives them the values that are to be
// the defaults, and defines them:
//
//	c := &config{Flags: drill.Flags{Messages: 5000, Trouble: drill.Trouble{Duplicates: 0.3, Fail: 0.05}}}
//	fs := c.Define("watermill", stderr)
//	// further flags on fs
//	err := c.Parse(args, nil)
//
// Its handler calls Trouble.Strike before the effect, and Trouble.Vanishing goes
// around its Deduper. At the end Flags.Sum makes the Summary, and Flags.Finish
// prints it and returns the exit status.
package drill
