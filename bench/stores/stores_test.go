//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/nemesis"
)

func skipWithoutRedis(t *testing.T, progress string) {
	t.Helper()
	if strings.Contains(progress, nemesis.ErrNoRedis.Error()) && os.Getenv("ONCE_REQUIRE_SERVERS") != "1" {
		t.Skip(nemesis.ErrNoRedis)
	}
}

// The program from its flags to its files.
func TestShortRun(t *testing.T) {
	dir := t.TempDir()
	var out, progress bytes.Buffer
	if code := run(t.Context(), []string{"-short", "-json", "-only", "^(Redis|SQLite|Pebble)$", "-o", dir}, &out, &progress); code != 0 {
		skipWithoutRedis(t, progress.String())
		t.Fatalf("exit status %d:\n%s", code, &progress)
	}
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Stores) != 3 {
		t.Errorf("%d stores, want 3", len(r.Stores))
	}
	for _, f := range r.Stores {
		if len(f.Rates) != len(loads) || len(f.Bytes) != 2 || f.Cleaning == 0 || f.Filter == 0 {
			t.Errorf("%s has %d rates, %v bytes, %v while ids end", f.Name, len(f.Rates), f.Bytes, f.Cleaning)
		}
		for _, c := range f.Rates {
			if c.Rate <= 0 || c.OfRedis <= 0 {
				t.Errorf("%s, %s: %v", f.Name, c.Load, c)
			}
		}
	}
	document, err := os.ReadFile(filepath.Join(dir, "stores.md"))
	if err != nil || !strings.Contains(string(document), "| Pebble |") {
		t.Errorf("the document lacks Pebble: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "stores.json")); err != nil {
		t.Error(err)
	}
}

func TestRowsOfSQLStores(t *testing.T) {
	var out, progress bytes.Buffer
	if code := run(t.Context(), []string{"-short", "-json", "-only", "^(PostgreSQL|MariaDB|SQLite)$", "-parts", "rows"}, &out, &progress); code != 0 {
		skipWithoutRedis(t, progress.String())
		t.Fatalf("exit status %d:\n%s", code, &progress)
	}
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Stores) < 3 && os.Getenv("ONCE_REQUIRE_SERVERS") == "1" {
		t.Error(&progress)
	}
	for _, f := range r.Stores {
		if len(f.Rows) != 2 || f.Rows[1].Rows != 20_000 || f.Rows[1].Bytes <= f.Rows[1].IndexBytes || f.Rows[1].P50 <= 0 {
			t.Errorf("%s: %+v", f.Name, f.Rows)
		}
	}
}

// A run of a part keeps what another one has measured.
func TestFiguresThatWereNotMeasuredStay(t *testing.T) {
	dir := t.TempDir()
	first := newReport(&settings{}, nil)
	first.Stores = []*figures{
		{Name: "one", Cleaning: 0.5, Bytes: []taken{{2000, 100, 0}, {1000, 90, 0}}},
		{Name: "other", Filter: 3},
	}
	if err := first.write(dir); err != nil {
		t.Fatal(err)
	}
	second := newReport(&settings{}, []string{"-parts", "bytes"})
	second.Stores = []*figures{{Name: "one", Bytes: []taken{{2000, 110, 40}}}, {Name: "third", Filter: 2}}
	if err := second.merge(dir, false); err != nil {
		t.Fatal(err)
	}
	table := second.tables()
	for _, row := range []string{"| one |  | – | – | – | 90 | 110 (40) | 0.5 | – |", "| other |  | – | – | – | – | – | – | 3 |", "| third |  | – | – | – | – | – | – | 2 |"} {
		if !strings.Contains(table, row) {
			t.Errorf("the table lacks %q:\n%s", row, table)
		}
	}
	if len(second.Before) != 1 || !strings.Contains(second.document(), "was kept of") {
		t.Errorf("before it: %+v", second.Before)
	}
	whole := newReport(&settings{}, nil)
	if err := whole.merge(dir, true); err != nil || len(whole.Stores)+len(whole.Before) != 0 {
		t.Errorf("a whole run keeps %d stores, %v", len(whole.Stores), err)
	}
}

func TestFlagsThatDoNotFitAreRefused(t *testing.T) {
	for _, args := range []string{"-only (", "-ids 10", "-ids 2000,1000", "-rows x", "-parts other", "more"} {
		if code := run(t.Context(), strings.Fields(args), io.Discard, io.Discard); code != 2 {
			t.Errorf("%s: exit status %d, want 2", args, code)
		}
	}
	for args, want := range map[string]string{"": "../docs", "-short": "", "-only Pebble": "", "-parts rate": "", "-short -o there": "there"} {
		s, err := parse(strings.Fields(args), io.Discard)
		if err != nil || s.out != want {
			t.Errorf("%q writes into %q, want %q (%v)", args, s.out, want, err)
		}
	}
}

// Every candidate tells a message that it had before from one that it had not, so
// that nobody is fast by doing nothing.
func TestCandidatesKnowWhatIsDone(t *testing.T) {
	s, err := parse([]string{"-short"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{ctx: t.Context(), set: s, stderr: io.Discard, dir: t.TempDir()}
	for _, c := range candidates {
		if strings.HasPrefix(c.name, "PostgreSQL") || strings.HasPrefix(c.name, "MariaDB") {
			continue // as SQLite
		}
		t.Run(c.name, func(t *testing.T) {
			o, err := c.open(b)
			if errors.Is(err, nemesis.ErrNoRedis) {
				skipWithoutRedis(t, err.Error())
			}
			if err != nil {
				t.Fatal(err)
			}
			defer o.close()
			first := b.ids.Load()
			for _, n := range []int{1, 100} {
				if err := b.handle(o.store, n, lasting); err != nil {
					t.Fatal(err)
				}
			}
			for n := first; n < b.ids.Load(); n++ {
				key, err := b.ids.key(n)
				if err != nil {
					t.Fatal(err)
				}
				v, err := o.store.TryClaim(t.Context(), key, claim.Request{Token: claim.NewToken(), TTL: time.Minute, Retention: time.Hour})
				if err != nil || v.Outcome != claim.Done {
					t.Fatalf("%v, %v; want done", v.Outcome, err)
				}
			}
			b.ids.Store(first)
			if err := b.handle(o.store, 1, lasting); !errors.Is(err, errNotClaimed) {
				t.Errorf("a second run of a message: %v", err)
			}
			b.ids.Store(first + 1000)
		})
	}
}

func TestFiguresOfNothingAreVoid(t *testing.T) {
	r := newReport(&settings{}, nil)
	if r.void() {
		t.Error("a report without rates is void")
	}
	r.Stores = []*figures{{Name: "slow", Rates: []compared{{Load: "alone"}}}}
	if !r.void() {
		t.Error("a report of which no turn counted is not void")
	}
	if !strings.Contains(r.tables(), "| slow |  | void | – | – | – | – |") {
		t.Errorf("the table hides what was not measured:\n%s", r.tables())
	}
	if m := median([]float64{4, 1, 3, 2}); m != 2.5 {
		t.Errorf("median %v, want 2.5", m)
	}
}
