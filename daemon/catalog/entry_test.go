package catalog

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEmbeddedCatalogue(t *testing.T) {
	entries, err := Entries()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
		if strings.Contains(e.Licence.Name, "Gemma") && !e.Licence.MustAccept {
			t.Errorf("%s: the Gemma terms ask for consent", e.Name)
		}
	}
	diff(t, "names", []string{"needle-26m-q8_0", "smollm2-135m-instruct-q4_1", "gemma-3-270m-q4_k_m"}, names)
}

// The catalogue must be updated together with the model that ships.
func TestBundledModelsAreAsDescribed(t *testing.T) {
	entries, err := Entries()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Bundled == "" {
			continue
		}
		file := filepath.Join("..", "..", filepath.FromSlash(e.Bundled))
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(b)) != e.Bytes || hexHash(b) != e.SHA256 {
			t.Errorf("%s has %d bytes and SHA-256 %s, the catalogue says %d and %s", e.Bundled, len(b), hexHash(b), e.Bytes, e.SHA256)
		}
		info, err := Show(file)
		if err != nil || info.Architecture != e.Architecture {
			t.Errorf("%s: architecture %q, %v, the catalogue says %q", e.Bundled, info.Architecture, err, e.Architecture)
		}
		_, err = Pull(t.Context(), Ref{RefCatalogue, e.Name}, Options{Dir: t.TempDir()}, nil)
		if !errors.Is(err, ErrBundled) {
			t.Errorf("pull of %s: %v, want ErrBundled", e.Name, err)
		}
		wantError(t, err, e.Bundled)
	}
}

func TestUnknownModel(t *testing.T) {
	_, err := Pull(t.Context(), Ref{RefCatalogue, "gpt-17"}, Options{Dir: t.TempDir()}, nil)
	wantError(t, err, `pull gpt-17: no model "gpt-17" in the catalogue; it has: needle-26m-q8_0,`)
}

const goodEntry = `
[[model]]
name = "m"
description = "d"
architecture = "llama"
bytes = 5
licence = { name = "L", url = "https://example.com/l" }
source = [{ url = "https://example.com/m.gguf" }]
`

func TestCatalogueErrors(t *testing.T) {
	if _, err := parseEntries([]byte(goodEntry)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ old, new, want string }{
		{"bytes = 5", "bytes = 0", "bytes must be positive"},
		{"bytes = 5", "byte = 5", "strict mode"},
		{"bytes = 5", `bytes = 5` + "\nsha256 = 'abc'", "64 hexadecimal digits"},
		{"bytes = 5", `bytes = 5` + "\nbundled = 'x'", "either sources or bundled"},
		{`name = "m"`, `name = "../m"`, "a model file is called"},
		{`"d"`, `""`, "description, architecture"},
		{"/l\"", "/l\", must_accept = true", "needs a notice"},
		{"https://example.com/m", "http://example.com/m", "https only"},
		{`url = "https://example.com/m.gguf"`, ``, "either url or wheels"},
		{`url = "https://example.com/m.gguf"`, `wheels = [{ requirement = "--pre", member = "m" }]`, "NAME==VERSION"},
		{`url = "https://example.com/m.gguf"`, `wheels = [{ requirement = "a==1" }]`, "no member"},
		{"\n[[model]]", goodEntry + "\n[[model]]", "listed twice"},
	} {
		doc := strings.Replace(goodEntry, tc.old, tc.new, 1)
		if doc == goodEntry {
			t.Fatalf("%q is not in the entry", tc.old)
		}
		_, err := parseEntries([]byte(doc))
		wantError(t, err, tc.want)
	}
}

func FuzzParseEntries(f *testing.F) {
	f.Add([]byte(goodEntry))
	f.Add(embedded)
	f.Fuzz(func(t *testing.T, doc []byte) {
		entries, err := parseEntries(doc)
		if err != nil {
			return
		}
		for _, e := range entries {
			if e.Bytes < 1 || bytes.ContainsAny([]byte(e.FileName()), "/\\\x00") {
				t.Errorf("accepted %+v", e)
			}
		}
	})
}
