package once

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestReadmeShowsCodeOfTheTree keeps the README's Go code equal to code that is
// compiled and run, comments aside.
func TestReadmeShowsCodeOfTheTree(t *testing.T) {
	readme := read(t, "README.md")
	tree := uncommented(read(t, "dedupe/example_jetstream_test.go") + read(t, "claim/store.go"))
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(readme, -1)
	if len(blocks) != 2 {
		t.Fatalf("the README has %d blocks of Go, want the example and the interface", len(blocks))
	}
	for _, b := range blocks {
		if !strings.Contains(tree, uncommented(b[1])) {
			t.Errorf("this code of the README is not in the tree:\n%s", b[1])
		}
	}
}

// TestDocumentsLinkToWhatIsThere follows the links between the documents.
func TestDocumentsLinkToWhatIsThere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	for _, dir := range []string{"", "docs/"} {
		files, err := os.ReadDir("./" + dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if !strings.HasSuffix(f.Name(), ".md") {
				continue
			}
			for _, m := range link.FindAllStringSubmatch(read(t, dir+f.Name()), -1) {
				if _, err := os.Stat(dir + m[1]); err != nil {
					t.Errorf("%s links to %s: %v", dir+f.Name(), m[1], err)
				}
			}
		}
	}
}

// TestReadmeShowsWhatWasMeasured keeps the README's figures equal to those of the
// last run of bench.
func TestReadmeShowsWhatWasMeasured(t *testing.T) {
	data, err := os.ReadFile("docs/performance.json")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("docs/performance.json is written by go run -C bench .")
	}
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Lines []struct{ Name, Figure string }
	}
	if err := json.Unmarshal(data, &report); err != nil {
		t.Fatal(err)
	}
	readme, shown := read(t, "README.md"), 0
	for _, l := range report.Lines {
		_, rest, ok := strings.Cut(readme, "\n| "+l.Name+" | ")
		if !ok {
			continue
		}
		shown++
		want := l.Figure
		if want == "" {
			want = "not measured"
		}
		if got, _, _ := strings.Cut(rest, " |"); got != want {
			t.Errorf("%s: the README says %q, docs/performance.json %q", l.Name, got, want)
		}
	}
	if shown < 10 {
		t.Errorf("the README shows %d figures of docs/performance.json, want its table", shown)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// uncommented returns Go code without comments on lines of their own and without
// empty lines.
func uncommented(code string) string {
	var kept []string
	for line := range strings.Lines(code) {
		if s := strings.TrimSpace(line); s != "" && !strings.HasPrefix(s, "//") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}
