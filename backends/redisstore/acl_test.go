package redisstore_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/testutil/redistest"
)

// documentedServer returns a server, and a client that is its once-operator of
// docs/redis.acl; of a server that REDIS_URL names, the client is what the URL says.
func documentedServer(t *testing.T) (s *redistest.Server, client redis.UniversalClient, prefix string) {
	t.Helper()
	if os.Getenv("REDIS_URL") != "" {
		s = redistest.Start(t)
		return s, s.Client(), s.Prefix
	}
	s = redistest.StartOwn(t, "--aclfile", aclFile(t))
	o := s.Options()
	o.Username, o.Password = "once-operator", "secret"
	client = redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	return s, client, "once:"
}

// aclFile writes the users of docs/redis.acl, and one for the tests, to a file
// that Redis reads.
func aclFile(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/redis.acl")
	if err != nil {
		t.Fatal(err)
	}
	users := "user default on nopass ~* &* +@all\n"
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "user ") {
			users += strings.ReplaceAll(line, "<password>", "secret")
		}
	}
	path := filepath.Join(t.TempDir(), "users.acl")
	if err := os.WriteFile(path, []byte(users), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
