package gguf_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"edged/infer/gguf"
)

const needlePath = "../../models/needle-26m-q8_0.gguf"

type goldenValue struct {
	Key, Type, Value, Bits, SHA256 string
	N                              int
}

type goldenTensor struct {
	Name, Type string
	Dims       []uint64
	Offset     int64
	Bytes      int
	SHA256     string `json:"float32_sha256"`
}

func openNeedle(t testing.TB) *gguf.File {
	t.Helper()
	f, err := gguf.Open(needlePath)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// TestNeedleMatchesGGUFPy compares the shipped model, as read here, with what
// gguf-py reads: metadata, tensor table and every decoded weight.
func TestNeedleMatchesGGUFPy(t *testing.T) {
	var golden struct {
		SHA256   string
		Metadata []goldenValue
		Tensors  []goldenTensor
	}
	readGolden(t, "testdata/needle.json", &golden)
	raw, err := os.ReadFile(needlePath)
	if err != nil {
		t.Fatal(err)
	}
	if got := hexSum(raw); got != golden.SHA256 {
		t.Fatalf("%s has SHA-256 %s, the golden was made from %s: run testdata/make_goldens.py again", needlePath, got, golden.SHA256)
	}
	f := openNeedle(t)
	if f.Size() != int64(len(raw)) {
		t.Errorf("Size() = %d, want %d", f.Size(), len(raw))
	}

	var metadata []goldenValue
	for _, key := range f.Keys() {
		v, ok := f.Value(key)
		if !ok {
			t.Fatalf("Value(%q) not found", key)
		}
		metadata = append(metadata, describe(t, key, v))
	}
	if diff := cmp.Diff(golden.Metadata, metadata); diff != "" {
		t.Errorf("metadata (-gguf-py +got):\n%s", diff)
	}

	var tensors []goldenTensor
	for _, x := range f.Tensors() {
		n, width := x.Rows()
		values := make([]float32, n*width)
		if err := x.Type.Dequantize(values, x.Data); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 0, 4*len(values))
		for _, v := range values {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
		tensors = append(tensors, goldenTensor{x.Name, x.Type.String(), x.Dims, x.Offset, len(x.Data), hexSum(b)})
	}
	if diff := cmp.Diff(golden.Tensors, tensors); diff != "" {
		t.Errorf("tensors (-gguf-py +got):\n%s", diff)
	}
}

// describe puts a value in the golden's terms.
func describe(t *testing.T, key string, v any) goldenValue {
	switch v := v.(type) {
	case []string:
		return goldenValue{Key: key, Type: "[]STRING", N: len(v), SHA256: hexSum([]byte(strings.Join(v, "\x00") + "\x00"))}
	case []int32:
		var b []byte
		for _, x := range v {
			b = binary.LittleEndian.AppendUint64(b, uint64(x))
		}
		return goldenValue{Key: key, Type: "[]INT32", N: len(v), SHA256: hexSum(b)}
	case float32:
		return goldenValue{Key: key, Type: "FLOAT32", Bits: fmt.Sprint(math.Float64bits(float64(v)))}
	case bool:
		return goldenValue{Key: key, Type: "BOOL", Value: map[bool]string{false: "False", true: "True"}[v]}
	case string:
		return goldenValue{Key: key, Type: "STRING", Value: v}
	case uint32:
		return goldenValue{Key: key, Type: "UINT32", Value: fmt.Sprint(v)}
	default:
		t.Fatalf("key %q: type %T is not in the golden", key, v)
		return goldenValue{}
	}
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
