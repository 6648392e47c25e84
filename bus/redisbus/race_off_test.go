//go:build !race

package redisbus_test

import "time"

const (
	parallel  = "64"
	suiteIdle = time.Second
)
