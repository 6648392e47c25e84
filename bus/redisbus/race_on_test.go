//go:build race

package redisbus_test

import "time"

// With the race detector everything takes ten times as long.
const (
	underRace = true
	parallel  = "16"
	suiteIdle = 2 * time.Second
)
