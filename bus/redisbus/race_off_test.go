//go:build !race

package redisbus_test

import "time"

const (
	underRace = false
	parallel  = "64"
	suiteIdle = time.Second
)
