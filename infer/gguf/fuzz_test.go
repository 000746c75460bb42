package gguf_test

import (
	"math/rand/v2"
	"os"
	"testing"

	"edged/infer/gguf"
	"edged/infer/gguf/gguftest"
)

// FuzzParse checks what Parse promises about every file that it accepts.
func FuzzParse(f *testing.F) {
	for _, seed := range fuzzSeeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := gguf.Parse(b)
		if err != nil {
			return
		}
		if file.Size() != int64(len(b)) {
			t.Fatalf("Size() = %d, want %d", file.Size(), len(b))
		}
		for _, key := range file.Keys() {
			if _, ok := file.Value(key); !ok {
				t.Fatalf("Value(%q) not found", key)
			}
			accessors(file, key)
		}
		taken := make(map[int64]string)
		for _, x := range file.Tensors() {
			if y, ok := file.Tensor(x.Name); !ok || y.Offset != x.Offset {
				t.Fatalf("Tensor(%q) is not the tensor of that name", x.Name)
			}
			n, width := x.Rows()
			if len(x.Data) == 0 || len(x.Data) != n*x.Type.RowBytes(width) || &b[x.Offset] != &x.Data[0] {
				t.Fatalf("tensor %q: %d bytes at %d for %d rows of %d %s", x.Name, len(x.Data), x.Offset, n, width, x.Type)
			}
			for i := range int64(len(x.Data)) {
				if other, ok := taken[x.Offset+i]; ok {
					t.Fatalf("tensors %q and %q share byte %d", other, x.Name, x.Offset+i)
				}
				taken[x.Offset+i] = x.Name
			}
			if err := x.Type.Dequantize(make([]float32, width), x.Row(n-1)); err != nil {
				t.Fatal(err)
			}
			if v, ok := x.Float32s(); ok && len(v) != n*width {
				t.Fatalf("tensor %q: %d floats for %d rows of %d", x.Name, len(v), n, width)
			}
			if err := file.DropPages(x); err != nil {
				t.Fatal(err)
			}
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// fuzzSeeds are valid files that use every value and tensor type, and the
// header of the shipped model.
func fuzzSeeds(f *testing.F) [][]byte {
	rng := rand.New(rand.NewPCG(1, 2))
	seeds := [][]byte{header(0, 0), header(1, 0).tensor("t", gguf.F32, 0, 1).padTo(32).zeros(4)}
	for _, v := range []any{
		uint8(1), int8(-1), uint16(1), int16(-1), uint32(1), int32(-1), uint64(1), int64(-1), float32(1), 1.0, true, "text",
		[]uint8{1}, []int8{-1}, []uint16{1}, []int16{1}, []uint32{1}, []int32{1}, []uint64{1}, []int64{1},
		[]float32{1}, []float64{1}, []bool{true}, []string{"a", "", "b"},
	} {
		b := new(gguftest.Builder)
		b.Set("key", v)
		seeds = append(seeds, build(f, b))
	}
	for _, typ := range gguf.Types() {
		b := &gguftest.Builder{Version: 2}
		b.Set("general.alignment", uint32(8))
		width := uint64(typ.BlockElems())
		b.RandomTensor(rng, "a", typ, []uint64{width, 2}, 1)
		b.RandomTensor(rng, "b", typ, []uint64{2 * width}, 1)
		seeds = append(seeds, build(f, b))
	}
	part := new(gguftest.Builder)
	part.Set("split.no", uint16(0))
	part.Set("split.count", uint16(2))
	seeds = append(seeds, build(f, part))

	model, err := os.ReadFile(needlePath)
	if err != nil {
		f.Fatal(err)
	}
	return append(seeds, model[:4096])
}

func build(f *testing.F, b *gguftest.Builder) []byte {
	data, err := b.Bytes()
	if err != nil {
		f.Fatal(err)
	}
	return data
}
