package gguf_test

import (
	"math"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"edged/infer/gguf"
	"edged/infer/gguf/gguftest"
)

// accessors calls every typed accessor and keeps what the file has.
func accessors(f *gguf.File, key string) map[string]any {
	got := make(map[string]any)
	keep := func(name string, v any, ok bool) {
		if ok {
			got[name] = v
		}
	}
	s, ok := f.String(key)
	keep("String", s, ok)
	u, ok := f.Uint(key)
	keep("Uint", u, ok)
	x, ok := f.Float(key)
	keep("Float", x, ok)
	b, ok := f.Bool(key)
	keep("Bool", b, ok)
	list, ok := f.Strings(key)
	keep("Strings", list, ok)
	floats, ok := f.Floats(key)
	keep("Floats", floats, ok)
	ints, ok := f.Ints(key)
	keep("Ints", ints, ok)
	bools, ok := f.Bools(key)
	keep("Bools", bools, ok)
	return got
}

func TestAccessors(t *testing.T) {
	type want = map[string]any
	for _, tc := range []struct {
		name  string
		value any
		want  want
	}{
		{"uint8", uint8(200), want{"Uint": uint64(200), "Float": 200.0}},
		{"int8", int8(-3), want{"Float": -3.0}},
		{"uint16", uint16(65535), want{"Uint": uint64(65535), "Float": 65535.0}},
		{"int16", int16(9), want{"Uint": uint64(9), "Float": 9.0}},
		{"uint32", uint32(math.MaxUint32), want{"Uint": uint64(math.MaxUint32), "Float": float64(math.MaxUint32)}},
		{"int32", int32(-1), want{"Float": -1.0}},
		{"uint64", uint64(math.MaxUint64), want{"Uint": uint64(math.MaxUint64), "Float": float64(math.MaxUint64)}},
		{"int64", int64(math.MinInt64), want{"Float": float64(math.MinInt64)}},
		{"float32", float32(0.5), want{"Float": 0.5}},
		{"float64", 1e300, want{"Float": 1e300}},
		{"bool", true, want{"Bool": true}},
		{"string", "text", want{"String": "text"}},
		{"empty string", "", want{"String": ""}},
		{"strings", []string{"a", "", "bc"}, want{"Strings": []string{"a", "", "bc"}}},
		{"no strings", []string{}, want{"Strings": []string{}}},
		{"floats", []float32{1, -2}, want{"Floats": []float32{1, -2}}},
		{"float64s", []float64{1}, want{}},
		{"bools", []bool{true, false}, want{"Bools": []bool{true, false}}},
		{"uint8s", []uint8{0, 255}, want{"Ints": []int32{0, 255}}},
		{"int8s", []int8{-128}, want{"Ints": []int32{-128}}},
		{"uint16s", []uint16{65535}, want{"Ints": []int32{65535}}},
		{"int16s", []int16{-32768}, want{"Ints": []int32{-32768}}},
		{"uint32s", []uint32{math.MaxInt32}, want{"Ints": []int32{math.MaxInt32}}},
		{"uint32s too large", []uint32{1, math.MaxInt32 + 1}, want{}},
		{"int32s", []int32{math.MinInt32}, want{"Ints": []int32{math.MinInt32}}},
		{"uint64s", []uint64{7}, want{"Ints": []int32{7}}},
		{"uint64s too large", []uint64{math.MaxUint64}, want{}},
		{"int64s", []int64{math.MinInt32}, want{"Ints": []int32{math.MinInt32}}},
		{"int64s too small", []int64{math.MinInt32 - 1}, want{}},
		{"no ints", []int32{}, want{"Ints": []int32{}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := new(gguftest.Builder)
			b.Set("key", tc.value)
			data, err := b.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			f, err := gguf.Parse(data)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, accessors(f, "key")); diff != "" {
				t.Errorf("accessors (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(want{}, accessors(f, "other")); diff != "" {
				t.Errorf("accessors of a missing key (-want +got):\n%s", diff)
			}
			if v, ok := f.Value("other"); ok {
				t.Errorf("Value of a missing key = %v", v)
			}
		})
	}
}

// TestFloat32sMisaligned parses the same file at each address modulo 4.
func TestFloat32sMisaligned(t *testing.T) {
	want := []float32{1, -2.5, 3e38}
	b := new(gguftest.Builder)
	b.Float32s("t", []uint64{3}, want)
	b.Tensor("h", gguf.F16, []uint64{1}, []byte{0, 0})
	data, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for shift := range 4 {
		moved := append(make([]byte, shift, shift+len(data)), data...)[shift:]
		f, err := gguf.Parse(moved)
		if err != nil {
			t.Fatal(err)
		}
		x, _ := f.Tensor("t")
		got, ok := x.Float32s()
		if diff := cmp.Diff(want, got); !ok || diff != "" {
			t.Errorf("shift %d (-want +got):\n%s", shift, diff)
		}
		if address := uintptr(unsafe.Pointer(&got[0])); address%4 != 0 {
			t.Errorf("shift %d: the floats stand at %#x, not aligned to 4 bytes", shift, address)
		}
		h, _ := f.Tensor("h")
		if _, ok := h.Float32s(); ok {
			t.Error("Float32s of an F16 tensor is ok")
		}
	}
}

// TestStringsSurviveRewrite changes the bytes under an open File, as a file
// that is rewritten in place would.
func TestStringsSurviveRewrite(t *testing.T) {
	b := new(gguftest.Builder)
	b.Set("list", []string{"one", "two"})
	data, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	list, ok := f.Strings("list")
	if !ok {
		t.Fatal("no list")
	}
	for i := range data {
		data[i] = 0xff
	}
	if diff := cmp.Diff([]string{"one", "two"}, list); diff != "" {
		t.Errorf("strings read before (-want +got):\n%s", diff)
	}
	if v, ok := f.Strings("list"); ok {
		t.Errorf("strings read after the lengths changed: %q, want none", v)
	}
}
