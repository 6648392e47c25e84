package redisbus

// Digests are those of the scripts, by the names of their files.
var Digests = map[string]string{
	"keep": keepScript.Hash(), "retry": retryScript.Hash(),
}
