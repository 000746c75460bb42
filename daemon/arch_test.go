package daemon

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "edged"

// maxFileLines keeps every file about one subject.
const maxFileLines = 600

// rooms says which packages of this module a package may import, tests aside.
// A name stands for itself and, with /..., for everything below. The longest
// matching key decides. A package that no key matches is an error, so that a
// new room has to be thought about.
var rooms = map[string][]string{
	"cmd/edged":         {"daemon", "daemon/catalog", "ipc/api", "ipc/client", "ipc/webui", "infer/bench", "infer/eval", "docs"},
	"daemon":            {"ipc/...", "infer/...", "store/...", "offload", "pinnedmem", "cudakern/...", "daemon/catalog", "daemon/health", "daemon/doctor"},
	"daemon/health":     {},
	"daemon/doctor":     {},
	"docs":              {},
	"daemon/catalog":    {"infer/gguf"},
	"ipc":               {"ipc/api"},
	"ipc/...":           {"ipc", "ipc/..."},
	"store":             {"store/..."},
	"store/...":         {"store/disk"},
	"store/disk":        {},
	"infer":             {"infer/...", "offload", "pinnedmem"},
	"infer/bench":       {"infer", "infer/...", "offload", "pinnedmem"},
	"infer/solo":        {"infer/graph", "offload", "pinnedmem"},
	"infer/calibrate":   {"infer/graph", "offload", "pinnedmem"},
	"infer/eval/task":   {"infer/eval"},
	"infer/eval":        {"infer", "infer/...", "offload", "pinnedmem"},
	"infer/gguf/...":    {"infer/gguf"},
	"infer/gguf":        {},
	"infer/tok/...":     {"infer/gguf", "infer/tok"},
	"infer/chat/...":    {"infer/gguf", "infer/chat/..."},
	"infer/sample/...":  {},
	"infer/fair":        {},
	"infer/grammar":     {},
	"infer/graph":       {"infer/gguf", "infer/sample", "offload", "pinnedmem"},
	"infer/model/...":   {"infer/gguf", "infer/graph", "infer/model", "offload"},
	"infer/ref":         {"infer/gguf", "infer/graph", "infer/sample", "offload", "pinnedmem"},
	"infer/cpu/kern":    {},
	"infer/cpu":         {"infer/gguf", "infer/graph", "infer/cpu/kern", "offload", "pinnedmem"},
	"infer/cuda":        {"infer/gguf", "infer/graph", "infer/sample", "offload", "pinnedmem", "cudakern/..."},
	"infer/backendtest": {"infer/gguf/...", "infer/graph", "infer/model", "infer/ref", "infer/sample", "offload", "pinnedmem"},
	"offload":           {"pinnedmem"},
	"pinnedmem":         {},
	"cudakern/...":      {"pinnedmem", "cudakern/..."},
}

// cgoRooms are the only packages with C code of our own.
var cgoRooms = []string{"infer/cpu", "infer/cpu/kern", "cudakern/driver"}

// pkg is one package folder of the module.
type pkg struct {
	files map[string]*ast.File // by path, tests too
	cgo   bool
}

// parseModule reads every Go file below the module's root, by package folder.
func parseModule(t *testing.T) map[string]*pkg {
	t.Helper()
	pkgs := map[string]*pkg{}
	walkFiles(t, func(path string, _ []byte) {
		if filepath.Ext(path) != ".go" {
			return
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", path), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Dir(path)
		if pkgs[dir] == nil {
			pkgs[dir] = &pkg{files: map[string]*ast.File{}}
		}
		pkgs[dir].files[path] = f
		for _, im := range f.Imports {
			if im.Path.Value == `"C"` {
				pkgs[dir].cgo = true
			}
		}
	})
	return pkgs
}

// walkFiles visits every text file that belongs to the project, with its path
// from the root.
func walkFiles(t *testing.T, visit func(path string, content []byte)) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel("..", path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == ".git" || d.Name() == "node_modules" || d.Name() == "build" || rel == "models" {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || rel == "edged" { // the built program
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		visit(rel, content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// room finds the rule of a package.
func room(path string) (allowed []string, ok bool) {
	if r, ok := rooms[path]; ok {
		return r, true
	}
	for dir := path; dir != "."; dir = filepath.Dir(dir) {
		if r, ok := rooms[dir+"/..."]; ok {
			return r, true
		}
	}
	return nil, false
}

func permits(allowed []string, path string) bool {
	return slices.ContainsFunc(allowed, func(a string) bool {
		prefix, tree := strings.CutSuffix(a, "/...")
		return path == prefix || tree && strings.HasPrefix(path, prefix+"/")
	})
}

func TestImportsRunOneWay(t *testing.T) {
	for dir, p := range parseModule(t) {
		allowed, ok := room(dir)
		if !ok {
			t.Errorf("package %s has no rule in rooms", dir)
			continue
		}
		for path, f := range p.files {
			if strings.HasSuffix(path, "_test.go") || ignored(f) {
				continue
			}
			for _, im := range f.Imports {
				name, err := strconv.Unquote(im.Path.Value)
				if err != nil {
					t.Fatal(err)
				}
				if target, ours := strings.CutPrefix(name, module+"/"); ours && !permits(allowed, target) {
					t.Errorf("%s imports %s; %s may import %v", path, target, dir, allowed)
				}
			}
		}
	}
}

// ignored says whether a file is a program of its own, such as a generator.
func ignored(f *ast.File) bool {
	for _, g := range f.Comments {
		if g.Pos() < f.Package && strings.Contains(g.Text(), "go:build ignore") || strings.HasPrefix(g.List[0].Text, "//go:build ignore") {
			return true
		}
	}
	return false
}

func TestCgoStandsInItsRooms(t *testing.T) {
	for dir, p := range parseModule(t) {
		if p.cgo && !slices.Contains(cgoRooms, dir) {
			t.Errorf("package %s imports \"C\"; only %v may", dir, cgoRooms)
		}
	}
}

func TestEveryPackageHasOneDoc(t *testing.T) {
	pkgs := parseModule(t)
	for _, dir := range slices.Sorted(maps.Keys(pkgs)) {
		var docs, code []string
		for path, f := range pkgs[dir].files {
			if strings.HasSuffix(path, "_test.go") || ignored(f) {
				continue
			}
			code = append(code, path)
			if f.Doc != nil {
				docs = append(docs, path)
			}
		}
		if len(code) > 0 && len(docs) != 1 {
			slices.Sort(docs)
			t.Errorf("package %s must have exactly one package comment, has %d: %v", dir, len(docs), docs)
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	code := []string{".go", ".c", ".h", ".cu", ".cuh", ".py", ".sh"}
	walkFiles(t, func(path string, content []byte) {
		if !slices.Contains(code, filepath.Ext(path)) {
			return
		}
		if n := strings.Count(string(content), "\n"); n > maxFileLines {
			t.Errorf("%s has %d lines, at most %d are allowed", path, n, maxFileLines)
		}
	})
}

// Paths of the machine on which a file was written mean nothing elsewhere.
var foreignPath = regexp.MustCompile(`(^|[^\w.])/(work|home/\w+|root)/`)

func TestNoPathsOfOneMachine(t *testing.T) {
	// /home/u and /root are what tests of user folders and documents of units use.
	allowed := regexp.MustCompile(`/home/(u|user|you)/|/root/\.`)
	text := []string{".go", ".c", ".h", ".py", ".sh", ".md", ".mod", ".toml", ".service", ".txtar", ".json", ""}
	walkFiles(t, func(path string, content []byte) {
		if !slices.Contains(text, filepath.Ext(path)) || path == "daemon/arch_test.go" {
			return
		}
		for i, line := range strings.Split(string(content), "\n") {
			if m := foreignPath.FindString(line); m != "" && !allowed.MatchString(line) {
				t.Errorf("%s:%d names a path of one machine: %s", path, i+1, m)
			}
		}
	})
}
