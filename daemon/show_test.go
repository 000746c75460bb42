package daemon

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is shown can be read again, and means the same.
func TestShownConfigurationIsOne(t *testing.T) {
	src := Source{
		File: writeFile(t, filepath.Join(t.TempDir(), "c.toml"), "[engine]\nhost_memory = \"3GiB\"\n[socket]\nmode = \"0660\"\nallow_uids = [7]\n"+
			"[log]\nlevel = \"warn\"\n[[model]]\nname = \"m\"\npath = \"m.gguf\"\n[[model]]\nname = \"n\"\npath = \"/n.gguf\"\n"),
		Paths: Paths{Socket: "/run/s", Sessions: "/s"},
	}
	want, err := src.Load()
	if err != nil {
		t.Fatal(err)
	}
	text, err := want.Show()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseConfig("shown", []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s\n%s", d, text)
	}
}
