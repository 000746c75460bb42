package gguf_test

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"edged/infer/gguf"
	"edged/infer/gguf/gguftest"
)

// readGolden decodes a file written by testdata/make_goldens.py.
func readGolden(t *testing.T, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("decode %s: %v", path, err)
	}
}

func TestDequantizeMatchesGGUFPy(t *testing.T) {
	var golden struct {
		Types []struct {
			Name   string
			Type   gguf.Type
			Blocks []byte
			Values []byte
		}
	}
	readGolden(t, "testdata/dequant.json", &golden)
	seen := make(map[gguf.Type]bool)
	for _, g := range golden.Types {
		seen[g.Type] = true
		t.Run(g.Name, func(t *testing.T) {
			if g.Type.String() != g.Name {
				t.Errorf("type %d is named %s, want %s", g.Type, g.Type, g.Name)
			}
			got := make([]float32, len(g.Values)/4)
			if err := g.Type.Dequantize(got, g.Blocks); err != nil {
				t.Fatal(err)
			}
			for i, x := range got {
				want := binary.LittleEndian.Uint32(g.Values[4*i:])
				if math.Float32bits(x) != want {
					t.Fatalf("element %d = %g (%#08x), want %g (%#08x)", i, x, math.Float32bits(x), math.Float32frombits(want), want)
				}
			}
		})
	}
	for _, typ := range gguf.Types() {
		if !seen[typ] {
			t.Errorf("no golden for %s", typ)
		}
	}
}

func TestDequantizeRefuses(t *testing.T) {
	for _, tc := range []struct {
		name       string
		typ        gguf.Type
		elems, src int
		want       string
	}{
		{"part of a block", gguf.Q4_K, 255, 144, "255 elements are not whole blocks of 256"},
		{"short source", gguf.Q8_0, 64, 67, "64 elements take 68 bytes, got 67"},
		{"long source", gguf.F16, 3, 8, "3 elements take 6 bytes, got 8"},
		{"known name", 16, 256, 66, "type IQ2_XXS (16) is not supported"},
		{"no name", 99, 1, 1, "type unknown (99) is not supported"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.typ.Dequantize(make([]float32, tc.elems), make([]byte, tc.src))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestTypeGeometry(t *testing.T) {
	for _, typ := range gguf.Types() {
		if !typ.Supported() {
			t.Errorf("%s is listed but not supported", typ)
		}
		if got, want := typ.RowBytes(512), 512/typ.BlockElems()*typ.BlockBytes(); got != want {
			t.Errorf("%s: a row of 512 takes %d bytes, want %d", typ, got, want)
		}
		if got := typ.RowBytes(1); got != typ.BlockBytes() {
			t.Errorf("%s: a row of 1 takes %d bytes, want a whole block, %d", typ, got, typ.BlockBytes())
		}
	}
	for _, typ := range []gguf.Type{9, 16, 39, 99, math.MaxUint32} {
		if typ.Supported() || typ.BlockElems() != 0 || typ.BlockBytes() != 0 || typ.RowBytes(256) != 0 {
			t.Errorf("type %d (%s) has a geometry, want none", typ, typ)
		}
	}
}

func TestRandomBlocksAreSane(t *testing.T) {
	const maxAbs = 0.25
	rng := rand.New(rand.NewPCG(1, 2))
	for _, typ := range gguf.Types() {
		n := 1 << 14 / typ.BlockElems()
		x := make([]float32, n*typ.BlockElems())
		if err := typ.Dequantize(x, gguftest.RandomBlocks(rng, typ, n, maxAbs)); err != nil {
			t.Fatal(err)
		}
		var sum, squares float64
		for i, v := range x {
			if !(math.Abs(float64(v)) <= maxAbs*1.01) {
				t.Fatalf("%s: element %d is %g, want within %g", typ, i, v, maxAbs)
			}
			sum += float64(v)
			squares += float64(v) * float64(v)
		}
		mean, rms := sum/float64(len(x)), math.Sqrt(squares/float64(len(x)))
		if math.Abs(mean) > maxAbs/20 || rms < maxAbs/20 {
			t.Errorf("%s: mean %g, root mean square %g, want about 0 and a fair part of %g", typ, mean, rms, maxAbs)
		}
	}
}
