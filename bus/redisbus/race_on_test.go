//go:build race

package redisbus_test

import "time"

// With the race detector everything takes ten times as long, above all scripts in
// miniredis.
const (
	parallel  = "16"
	suiteIdle = 2 * time.Second
)
