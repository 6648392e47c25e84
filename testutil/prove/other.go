//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "prove: needs Linux: faults are injected by its signals and its /proc")
	os.Exit(2)
}
