//go:build !race

package natsstore_test

// parallel is how many cases run at a time: they wait for the server's clock more
// than they compute.
const parallel = "40"
