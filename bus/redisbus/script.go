package redisbus

import (
	_ "embed"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed keep.lua
	keepLua string
	//go:embed retry.lua
	retryLua string
	//go:embed forget.lua
	forgetLua string
	//go:embed trim.lua
	trimLua string

	keepScript   = redis.NewScript(keepLua)
	retryScript  = redis.NewScript(retryLua)
	forgetScript = redis.NewScript(forgetLua)
	trimScript   = redis.NewScript(trimLua)
)

// atOnce is how many entries a script looks at in one call: the server does
// nothing else meanwhile, for some microseconds each.
const atOnce = 256

// What scripts say of entries.
const (
	kept    = "kept"
	taken   = "taken"   // another's by now, or delivered again
	deleted = "deleted" // no longer in the stream
)
