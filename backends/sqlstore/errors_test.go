package sqlstore_test

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/oncebus/once/backends/sqlstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/netproxy"
	"github.com/oncebus/once/testutil/sqltest"
)

func TestNewNamesWhatIsWrong(t *testing.T) {
	db := databases[0].open(t)
	for name, o := range map[string]*sqlstore.Options{
		"Options.Prefix":   {Prefix: "a-b"},
		"Options.MaxBatch": {MaxBatch: 1001},
	} {
		if _, err := sqlstore.New(t.Context(), db, sqlstore.SQLite, o); !errors.Is(err, claim.ErrInvalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v, want ErrInvalid that names it", name, err)
		}
	}
	if _, err := sqlstore.New(t.Context(), nil, sqlstore.SQLite, nil); !errors.Is(err, claim.ErrInvalid) {
		t.Errorf("no database: error %v, want ErrInvalid", err)
	}
	if _, err := sqlstore.New(t.Context(), db, 0, nil); !errors.Is(err, claim.ErrInvalid) {
		t.Errorf("no dialect: error %v, want ErrInvalid", err)
	}
	if _, err := sqlstore.New(t.Context(), db, sqlstore.SQLite, nil); !errors.Is(err, claim.ErrUnavailable) || !strings.Contains(err.Error(), "Migrate") {
		t.Errorf("no tables: error %v, want ErrUnavailable that says what to do", err)
	}
}

// Migrate runs at every start of every process.
func TestMigrateAgainAndAtOnce(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		db := d.open(t)
		errs := make(chan error)
		for range 4 {
			go func() { errs <- sqlstore.Migrate(t.Context(), db, d.dialect, nil) }()
		}
		for range 4 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if _, err := sqlstore.New(t.Context(), db, d.dialect, nil); err != nil {
			t.Error(err)
		}
	})
}

func TestARowThatIsNotOursIsCorrupt(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		db := d.open(t)
		store := d.storeWith(t, db, nil)
		for _, change := range []string{"state = 9", "flags = 64", "message_id = NULL", "fence = -1"} {
			key := newKey(t)
			if _, err := store.TryClaim(t.Context(), key, newRequest()); err != nil {
				t.Fatal(err)
			}
			exec(t, db, "UPDATE once_claims SET "+change)
			if _, err := store.TryClaim(t.Context(), key, newRequest()); !errors.Is(err, claim.ErrCorrupt) {
				t.Errorf("%s: TryClaim: error %v, want ErrCorrupt", change, err)
			}
			if _, err := store.Get(t.Context(), key); !errors.Is(err, claim.ErrCorrupt) {
				t.Errorf("%s: Get: error %v, want ErrCorrupt", change, err)
			}
			page, _, err := store.List(t.Context(), claim.Filter{}, "", 10)
			if !errors.Is(err, claim.ErrCorrupt) || len(page) != 0 || !strings.Contains(err.Error(), key.Digest().String()) {
				t.Errorf("%s: List: %d records, error %v, want ErrCorrupt with the digest", change, len(page), err)
			}
			exec(t, db, "DELETE FROM once_claims")
		}
	})
}

// A connection that breaks while a row is read has changed nothing; while it is
// written nobody knows, and repeating is safe.
func TestAConnectionCutAtEveryStatement(t *testing.T) {
	for _, c := range []struct {
		database
		start func(testing.TB) *sqltest.Server
	}{{databases[2], sqltest.StartPostgres}, {databases[3], sqltest.StartMariaDB}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := c.start(t)
			direct := server.Database(t)
			probe := c.storeWith(t, direct.Open(t), nil)
			proxy := netproxy.New(t, server.Addr)
			db := server.At(direct, proxy.Addr()).Open(t)
			db.SetMaxOpenConns(1)
			store := c.storeWith(t, db, nil)
			for point, want := range map[netproxy.Point]error{
				netproxy.BeforeRequest: claim.ErrUnknown, netproxy.WithinRequest: claim.ErrUnknown,
				netproxy.BeforeReply: claim.ErrUnknown, netproxy.WithinReply: claim.ErrUnknown,
			} {
				key, req := newKey(t), newRequest()
				id := hex.EncodeToString([]byte(key.ID()))
				trap := proxy.CutAt(point, id)
				v, err := store.TryClaim(t.Context(), key, req)
				trap.Wait(t)
				if !errors.Is(err, want) || v.Outcome != 0 {
					t.Errorf("point %d: %v, error %v; want %v", point, v.Outcome, err, want)
				}
				if strings.Contains(err.Error(), string(key.ID())) || strings.Contains(err.Error(), id) {
					t.Errorf("point %d: the id is in the error: %v", point, err)
				}
				if v := claimed(t, store, key, req); v.Grant.Attempt != 1 {
					t.Errorf("point %d: repeated: attempt %d, want 1", point, v.Grant.Attempt)
				}
				if entry, err := probe.Get(t.Context(), key); err != nil || entry.Token != req.Token {
					t.Errorf("point %d: %v, error %v", point, entry.State, err)
				}
				// While it is read: the store tries once more by itself.
				key, req = newKey(t), newRequest()
				trap = proxy.CutAt(point, key.Digest().String())
				if v := claimed(t, store, key, req); v.Grant.Attempt != 1 {
					t.Errorf("point %d: attempt %d, want 1", point, v.Grant.Attempt)
				}
				trap.Wait(t)
			}
			db.Close()
			if _, err := store.TryClaim(t.Context(), newKey(t), newRequest()); !errors.Is(err, claim.ErrUnavailable) {
				t.Errorf("a pool that is closed: error %v, want ErrUnavailable", err)
			}
		})
	}
}

func claimed(t testing.TB, store *sqlstore.Store, key claim.Key, req claim.Request) claim.Verdict {
	t.Helper()
	v, err := store.TryClaim(t.Context(), key, req)
	if err != nil || v.Outcome != claim.Claimed {
		t.Fatalf("TryClaim: %v, error %v; want Claimed", v.Outcome, err)
	}
	return v
}
