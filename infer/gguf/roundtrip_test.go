package gguf_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"edged/infer/gguf"
	"edged/infer/gguf/gguftest"
)

// valueGen draws a metadata value of any type.
func valueGen() *rapid.Generator[any] {
	return rapid.OneOf(
		rapid.Uint8().AsAny(), rapid.Int8().AsAny(), rapid.Uint16().AsAny(), rapid.Int16().AsAny(),
		rapid.Uint32().AsAny(), rapid.Int32().AsAny(), rapid.Uint64().AsAny(), rapid.Int64().AsAny(),
		rapid.Float32().AsAny(), rapid.Float64().AsAny(), rapid.Bool().AsAny(), rapid.String().AsAny(),
		rapid.SliceOf(rapid.Uint8()).AsAny(), rapid.SliceOf(rapid.Int8()).AsAny(),
		rapid.SliceOf(rapid.Uint16()).AsAny(), rapid.SliceOf(rapid.Int16()).AsAny(),
		rapid.SliceOf(rapid.Uint32()).AsAny(), rapid.SliceOf(rapid.Int32()).AsAny(),
		rapid.SliceOf(rapid.Uint64()).AsAny(), rapid.SliceOf(rapid.Int64()).AsAny(),
		rapid.SliceOf(rapid.Float32()).AsAny(), rapid.SliceOf(rapid.Float64()).AsAny(),
		rapid.SliceOf(rapid.Bool()).AsAny(), rapid.SliceOf(rapid.String()).AsAny(),
	)
}

// model is what a file is made from and must read back as.
type model struct {
	Keys    []string
	Values  map[string]any
	Tensors []gguf.Tensor
}

func drawModel(t *rapid.T) model {
	m := model{Values: make(map[string]any)}
	if rapid.Bool().Draw(t, "aligned") {
		m.Keys = append(m.Keys, "general.alignment")
		m.Values["general.alignment"] = uint32(8) << rapid.IntRange(0, 9).Draw(t, "alignment")
	}
	for i := range rapid.IntRange(0, 8).Draw(t, "keys") {
		key := fmt.Sprintf("key.%d", i)
		m.Keys = append(m.Keys, key)
		m.Values[key] = valueGen().Draw(t, key)
	}
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	for i := range rapid.IntRange(0, 6).Draw(t, "tensors") {
		typ := rapid.SampledFrom(gguf.Types()).Draw(t, "type")
		dims := rapid.SliceOfN(rapid.Uint64Range(1, 4), 1, 4).Draw(t, "dims")
		blocks := 1
		for _, d := range dims {
			blocks *= int(d)
		}
		dims[0] *= uint64(typ.BlockElems())
		m.Tensors = append(m.Tensors, gguf.Tensor{
			Name: fmt.Sprintf("tensor.%d", i),
			Type: typ,
			Dims: dims,
			Data: gguftest.RandomBlocks(rng, typ, blocks, 1),
		})
	}
	return m
}

func (m model) builder() *gguftest.Builder {
	b := new(gguftest.Builder)
	for _, key := range m.Keys {
		b.Set(key, m.Values[key])
	}
	for _, x := range m.Tensors {
		b.Tensor(x.Name, x.Type, x.Dims, x.Data)
	}
	return b
}

// bitwise compares floats by bits, NaN included, and nil slices as empty.
var bitwise = cmp.Options{
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }),
	cmp.Comparer(func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }),
	cmpopts.IgnoreFields(gguf.Tensor{}, "Offset"),
}

func readModel(f *gguf.File) model {
	m := model{Keys: f.Keys(), Values: make(map[string]any), Tensors: f.Tensors()}
	for _, key := range m.Keys {
		m.Values[key], _ = f.Value(key)
	}
	return m
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawModel(t)
		b, err := want.builder().Bytes()
		if err != nil {
			t.Fatal(err)
		}
		f, err := gguf.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, readModel(f), bitwise); diff != "" {
			t.Fatalf("model (-want +got):\n%s", diff)
		}
		for _, x := range f.Tensors() {
			if got := b[x.Offset : x.Offset+int64(len(x.Data))]; !bytes.Equal(got, x.Data) {
				t.Fatalf("tensor %s: the bytes at its offset %d are not its data", x.Name, x.Offset)
			}
			n, width := x.Rows()
			last := x.Row(n - 1)
			if len(last) != x.Type.RowBytes(width) || !bytes.HasSuffix(x.Data, last) {
				t.Fatalf("tensor %s: row %d is not the end of its data", x.Name, n-1)
			}
		}
	})
}

func TestRoundTripSplit(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		want := drawModel(t)
		n := rapid.IntRange(2, 5).Draw(t, "parts")
		paths, err := want.builder().WriteSplit(dir, "m", n)
		if err != nil {
			t.Fatal(err)
		}
		f, err := gguf.Open(paths[0])
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		got := readModel(f)
		got.Keys = got.Keys[3:] // split.no, split.count, split.tensors.count
		for _, key := range []string{"split.no", "split.count", "split.tensors.count"} {
			delete(got.Values, key)
		}
		if diff := cmp.Diff(want, got, bitwise); diff != "" {
			t.Fatalf("model (-want +got):\n%s", diff)
		}
		for _, path := range paths {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestBuilderRefuses(t *testing.T) {
	for name, misuse := range map[string]func(*gguftest.Builder){
		"value type":   func(b *gguftest.Builder) { b.Set("k", 1) },
		"tensor bytes": func(b *gguftest.Builder) { b.Tensor("t", gguf.Q8_0, []uint64{32}, make([]byte, 33)) },
		"block": func(b *gguftest.Builder) {
			b.RandomTensor(rand.New(rand.NewPCG(0, 0)), "t", gguf.Q8_0, []uint64{31}, 1)
		},
	} {
		b := new(gguftest.Builder)
		misuse(b)
		if _, err := b.Bytes(); err == nil {
			t.Errorf("%s: no error from Bytes", name)
		}
		path := filepath.Join(t.TempDir(), "m.gguf")
		if err := b.WriteFile(path); err == nil {
			t.Errorf("%s: no error from WriteFile", name)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s: WriteFile left a file", name)
		}
	}
}
