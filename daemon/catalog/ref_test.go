package catalog

import (
	"path"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseRef(t *testing.T) {
	for s, want := range map[string]Ref{
		"smollm2-135m":                          {RefCatalogue, "smollm2-135m"},
		"https://example.com/a/m.gguf":          {RefURL, "https://example.com/a/m.gguf"},
		"HTTPS://example.com/m.gguf?download=1": {RefURL, "https://example.com/m.gguf?download=1"},
		"https://example.com/a%2Fb/m.gguf":      {RefURL, "https://example.com/a%2Fb/m.gguf"},
		"hf:o/r/m-Q4_K_M.gguf":                  {RefHub, "o/r/m-Q4_K_M.gguf"},
		"hf:o/r/sub/dir/m-00001-of-00002.gguf":  {RefHub, "o/r/sub/dir/m-00001-of-00002.gguf"},
		"m.gguf":                                {RefPath, "m.gguf"},
		"./m":                                   {RefPath, "./m"},
		"/models/m.gguf":                        {RefPath, "/models/m.gguf"},
	} {
		got, err := ParseRef(s)
		if err != nil || got != want {
			t.Errorf("ParseRef(%q) = %v, %v, want %v", s, got, err, want)
		}
	}
	for s, want := range map[string]string{
		"":                                                    "no model is named",
		"http://example.com/m.gguf":                           "over https:// only, not http://",
		"ftp://example.com/m.gguf":                            "not ftp://",
		"https://user:pw@example.com/m.gguf":                  "holds a user name",
		"https:///m.gguf":                                     "no host",
		"https://example.com/":                                "a model file is called",
		"https://example.com/m.bin":                           `got "m.bin"`,
		"https://example.com/..":                              "a model file is called",
		"https://example.com/.m.gguf":                         "a model file is called",
		"https://example.com/a%5C..%5Cm.gguf":                 "a model file is called",
		"https://example.com/%zz/m.gguf":                      "parse model URL",
		"https://example.com/m%00.gguf":                       "a model file is called",
		"https://e.com/" + strings.Repeat("a", 196) + ".gguf": "file name of 201 bytes, the limit is 200",
		"hf:o/m.gguf":                                         "hf:OWNER/REPO/FILE",
		"hf:o/../m.gguf":                                      `".." is not the name`,
		"hf:o//m.gguf":                                        `"" is not the name`,
		"hf:o/r/m.safetensors":                                "a model file is called",
		"hf:o/r?x=/m.gguf":                                    `"r?x=" is not the name`,
	} {
		_, err := ParseRef(s)
		wantError(t, err, want)
	}
}

// Whatever is asked for, the file lands directly in the models folder.
func FuzzParseRef(f *testing.F) {
	for _, s := range []string{"a", "https://e.com/a/../m.gguf", "hf:o/r/m.gguf", "../m.gguf", "https://e.com/%2e%2e%2fm.gguf"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := ParseRef(s)
		if err != nil || ref.Kind == RefPath || ref.Kind == RefCatalogue {
			return
		}
		if ref.Kind == RefHub {
			if ref.Target, err = hubURL(DefaultHubURL, ref.Target); err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(ref.Target, DefaultHubURL+"/") {
				t.Fatalf("%q leaves the hub: %s", s, ref.Target)
			}
		}
		u, err := parseFileURL(ref.Target)
		if err != nil {
			t.Fatalf("%q was accepted, its URL %q is not: %v", s, ref.Target, err)
		}
		p := &puller{}
		items, err := p.items(path.Base(u.Path), func(string) fetcher { return nil })
		if err != nil {
			return // a split set that is refused
		}
		for _, it := range items {
			if filepath.Dir(filepath.Join("/models", it.name)) != "/models" || strings.HasPrefix(it.name, ".") {
				t.Fatalf("%q would be written to %q", s, it.name)
			}
		}
	})
}
