package once

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/oncebus/once/"

// listed is what `go list -deps -json` says of a package.
type listed struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
	Doc        string
}

// packages lists the module's packages, by their path within it, and the path of
// every package of the standard library that they need.
func packages(t *testing.T) (own map[string]listed, standard map[string]bool) {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard,Imports,Deps,Doc", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	own, standard = map[string]listed{}, map[string]bool{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if p.Standard {
			standard[p.ImportPath] = true
		} else if path, ok := strings.CutPrefix(p.ImportPath, module); ok {
			own[path] = p
		}
	}
	if len(own) < 10 {
		t.Fatalf("go list names %d packages of %s, want more", len(own), module)
	}
	return own, standard
}

// house returns the part of the module to which a package belongs.
func house(path string) string {
	first, rest, nested := strings.Cut(path, "/")
	if first == "bus" && nested && !strings.HasPrefix(rest, "internal/") {
		return "adapter"
	}
	if first == "dedupe" && rest != "" {
		return "dedupe"
	}
	return first
}

// mayImport says what a house may import besides the standard library.
var mayImport = map[string]struct {
	houses  []string
	modules []string // prefixes of others' packages; "" is any
}{
	"claim":    {nil, nil},
	"bus":      {nil, nil},
	"dedupe":   {[]string{"bus", "claim", "dedupe"}, []string{"github.com/google/uuid"}},
	"backends": {[]string{"claim"}, []string{""}},
	"adapter":  {[]string{"bus"}, []string{""}},
	"testutil": {[]string{"bus", "claim", "dedupe", "backends", "adapter", "testutil"}, []string{""}},
	"examples": {[]string{"bus", "claim", "dedupe", "backends", "adapter", "testutil", "examples"}, []string{""}},
}

func TestImportsPointInOneDirection(t *testing.T) {
	own, standard := packages(t)
	for path, p := range own {
		allowed, known := mayImport[house(path)]
		if !known {
			t.Errorf("%s belongs to no house; give it one in mayImport", path)
			continue
		}
		for _, imported := range p.Imports {
			if standard[imported] {
				continue
			}
			if other, ok := strings.CutPrefix(imported, module); ok {
				// A package may stand on the one in which it is nested.
				if !slices.Contains(allowed.houses, house(other)) && !strings.HasPrefix(path, other+"/") {
					t.Errorf("%s imports %s: %s may import %v", path, other, house(path), allowed.houses)
				}
			} else if !hasPrefix(allowed.modules, imported) {
				t.Errorf("%s imports %s: %s may import the modules %q", path, imported, house(path), allowed.modules)
			}
		}
	}
}

func TestContractsAndDedupeNeedNoClientLibrary(t *testing.T) {
	own, standard := packages(t)
	for _, path := range []string{"claim", "bus", "dedupe"} {
		for _, dep := range own[path].Deps {
			if !standard[dep] && !strings.HasPrefix(dep, module) && dep != "github.com/google/uuid" {
				t.Errorf("%s depends on %s", path, dep)
			}
		}
	}
}

func TestEveryPackageIsDocumented(t *testing.T) {
	own, _ := packages(t)
	for path, p := range own {
		if p.Doc == "" {
			t.Errorf("%s has no package documentation", path)
		}
	}
}

func hasPrefix(prefixes []string, s string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(s, prefix) })
}
