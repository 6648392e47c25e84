package redisstore

import (
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
)

var (
	//go:embed marker.lua
	markerLua string
	//go:embed positions.lua
	positionsLua string
	//go:embed state.lua
	stateLua string
	//go:embed done.lua
	doneLua string
	//go:embed read.lua
	readLua string
	//go:embed buckets.lua
	bucketsLua string
)

// script is one text and the two ways to call it, as arguments that are boxed
// once and not for every command.
type script struct {
	evalsha [2]any
	eval    [2]any
}

func newScript(text string) *script {
	sum := sha1.Sum([]byte(text))
	return &script{
		evalsha: [2]any{"evalsha", hex.EncodeToString(sum[:])},
		eval:    [2]any{"eval", text},
	}
}

// preludeLua is what the scripts know of markers and bits.
var preludeLua = markerLua + positionsLua

var (
	stateScript = newScript(preludeLua + stateLua)
	// settleScript is the same machine with leave to write while the server is
	// over its maxmemory. Redis before 7 cannot compile its first line and says
	// so; what it was to carry out is then refused as before.
	settleScript = newScript("#!lua flags=allow-oom\n" + preludeLua + stateLua)
	// doneScript is the part of it that most calls need.
	doneScript = newScript(doneLua)
	readScript = newScript(preludeLua + readLua)
	// bucketsScript reads the packed layout's hashes.
	bucketsScript = newScript(markerLua + bucketsLua)
)
