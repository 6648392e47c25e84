package crashkit_test

import (
	"context"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/oncebus/once/testutil/crashkit"
)

// TestPageSaysWhatTheKitDoes keeps docs/crashkit.md equal to the example,
// comments aside, complete as to the findings, and its table true.
func TestPageSaysWhatTheKitDoes(t *testing.T) {
	page, example := read(t, "../../docs/crashkit.md"), uncommented(read(t, "example_test.go"))
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(page, -1)
	if len(blocks) != 2 {
		t.Errorf("the page has %d blocks of Go, want 2", len(blocks))
	}
	for _, b := range blocks {
		if !strings.Contains(example, uncommented(b[1])) {
			t.Errorf("this code of the page is not in the example:\n%s", b[1])
		}
	}
	for _, k := range crashkit.Kinds {
		if !strings.Contains(page, "\n| "+string(k)+" |") {
			t.Errorf("the page does not explain %q", k)
		}
	}

	r := run(t, func(ctx context.Context, e *crashkit.Effects) error {
		e.Tolerate("mail")
		if err := keyed(ctx, e, "charge"); err != nil {
			return err
		}
		return plain(ctx, e, "mail")
	})
	lines := strings.Split(spaced(r.String()), "\n")
	rows := regexp.MustCompile(`(?m)^(?:p\d|point|  ).*(?:ok|verdict|\d)$`).FindAllString(page, -1)
	if len(rows) < 4 {
		t.Errorf("the page's table has %d rows", len(rows))
	}
	for _, row := range rows {
		if !slices.Contains(lines, spaced(row)) {
			t.Errorf("no row of the report is %q", spaced(row))
		}
	}
}

// spaced returns text with single spaces, and none at the ends of lines.
func spaced(text string) string {
	text = regexp.MustCompile(` +`).ReplaceAllString(text, " ")
	return regexp.MustCompile(`(?m)^ | $`).ReplaceAllString(text, "")
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// uncommented returns Go code without comments and empty lines.
func uncommented(code string) string {
	code = regexp.MustCompile(`(?m)\s*// .*$`).ReplaceAllString(code, "")
	return regexp.MustCompile(`\n+`).ReplaceAllString(code, "\n")
}
