package cudakern_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"edged/cudakern"
)

func manifest(t *testing.T) cudakern.Manifest {
	t.Helper()
	m, err := cudakern.ReadManifest()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestPTXIsFresh: the committed PTX was compiled from these sources.
func TestPTXIsFresh(t *testing.T) {
	files, err := filepath.Glob("src/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no sources: %v", err)
	}
	h := sha256.New()
	for _, f := range files { // Glob sorts
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		h.Write([]byte(filepath.Base(f) + "\x00"))
		h.Write(b)
		h.Write([]byte{0})
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != manifest(t).SourceSHA256 {
		t.Errorf("sources have hash %s, the PTX was compiled from %s: run go generate ./cudakern", got, manifest(t).SourceSHA256)
	}
}

// TestParams: launch structs are laid out as the compiled kernels expect.
func TestParams(t *testing.T) {
	m, params := manifest(t), cudakern.Params()
	for name, k := range m.Kernels {
		args, ok := params[name]
		if !ok {
			t.Errorf("kernel %s has no launch struct", name)
			continue
		}
		if diff := cmp.Diff(k.Params, sizes(reflect.TypeOf(args))); diff != "" {
			t.Errorf("kernel %s (-compiled +struct):\n%s", name, diff)
		}
		want := 0
		for _, size := range k.Params {
			want = (want+size-1)/size*size + size
		}
		if got := len(cudakern.Pack(args)); got != want {
			t.Errorf("kernel %s: parameters take %d bytes, packed %d", name, want, got)
		}
	}
	for name := range params {
		if _, ok := m.Kernels[name]; !ok {
			t.Errorf("launch struct of kernel %s, which was not compiled", name)
		}
	}
}

func sizes(t reflect.Type) []int {
	var out []int
	for i := range t.NumField() {
		if f := t.Field(i).Type; f.Kind() == reflect.Array {
			for range f.Len() {
				out = append(out, int(f.Elem().Size()))
			}
		} else {
			out = append(out, int(f.Size()))
		}
	}
	return out
}

// TestResources: no kernel spills more than a little, and blocks of all threads
// fit the register file.
func TestResources(t *testing.T) {
	for name, k := range manifest(t).Kernels {
		for variant, r := range k.Resources {
			if r.Spilled > 64 || r.Registers > 255 {
				t.Errorf("kernel %s for %s takes %d registers and spills %d bytes", name, variant, r.Registers, r.Spilled)
			}
		}
	}
}
