package gguf_test

import (
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"

	"edged/infer/gguf"
)

// raw builds a file field by field, right or wrong.
type raw []byte

func (r raw) u8(v ...byte) raw { return append(r, v...) }
func (r raw) u32(v uint32) raw { return binary.LittleEndian.AppendUint32(r, v) }
func (r raw) u64(v uint64) raw { return binary.LittleEndian.AppendUint64(r, v) }
func (r raw) str(s string) raw { return append(r.u64(uint64(len(s))), s...) }
func (r raw) zeros(n int) raw  { return append(r, make([]byte, n)...) }
func (r raw) padTo(n int) raw  { return r.zeros((n - len(r)%n) % n) }
func (r raw) kvU32(key string, v uint32) raw {
	return r.str(key).u32(4).u32(v)
}

func (r raw) tensor(name string, typ gguf.Type, offset uint64, dims ...uint64) raw {
	r = r.str(name).u32(uint32(len(dims)))
	for _, d := range dims {
		r = r.u64(d)
	}
	return r.u32(uint32(typ)).u64(offset)
}

// header starts a version 3 file.
func header(tensors, keys uint64) raw {
	return raw("GGUF").u32(3).u64(tensors).u64(keys)
}

func TestParseRefusesHostileFiles(t *testing.T) {
	const huge = math.MaxUint64
	for _, tc := range []struct {
		name   string
		file   raw
		offset int64
		want   string
	}{
		{"empty", raw{}, 0, "truncated: magic needs 4 bytes, the file has 0 left"},
		{"other format", raw("PK\x03\x04....."), 0, `not a GGUF file: it starts with "PK\x03\x04"`},
		{"no version", raw("GGUF\x03"), 4, "truncated: version"},
		{"version 1", raw("GGUF").u32(1).zeros(16), 4, "GGUF version 1 is not supported, only 2 and 3 are"},
		{"version 4", raw("GGUF").u32(4).zeros(16), 4, "GGUF version 4 is not supported"},
		{"version 0", raw("GGUF").u32(0).zeros(16), 4, "GGUF version 0 is not supported"},
		{"big-endian", raw("GGUF\x00\x00\x00\x03").zeros(16), 4, "big-endian GGUF version 3 is not supported"},
		{"no counts", raw("GGUF").u32(3).u64(0), 16, "truncated: metadata count"},

		{"key count", header(0, huge), 24, "18446744073709551615 metadata entries need at least 14 bytes each"},
		{"key count by one", header(0, 2).kvU32("k", 1), 24, "2 metadata entries need at least 14 bytes each, the file has 17 left"},
		{"tensor count", header(1<<40, 0), 24, "1099511627776 tensors need at least 33 bytes each"},
		{"key length", header(0, 1).u64(huge).zeros(32), 24, "metadata key 0 claims 18446744073709551615 bytes"},
		{"key too long", header(0, 1).str(strings.Repeat("k", 65536)).u32(0).u8(1), 24, "metadata key 0 has 65536 bytes, it must have 1 to 65535"},
		{"key empty", header(0, 1).str("").u32(4).u32(1), 24, "metadata key 0 has 0 bytes"},
		{"key not UTF-8", header(0, 1).kvU32("\xff", 1), 24, `metadata key "\xff" is not UTF-8`},
		{"long key not UTF-8", header(0, 1).kvU32(strings.Repeat("\xff", 60_000), 1), 24, `metadata key "\xff`},
		{"long key with an unknown type", header(0, 1).str(strings.Repeat("k", 60_000)).u32(13).zeros(8), 60_032, ": unknown value type 13"},
		{"long key of a cut array", header(0, 1).str(strings.Repeat("k", 60_000)).u32(9).u32(4), 60_040, "truncated: array of key"},
		{"key twice", header(0, 2).kvU32("k", 1).kvU32("k", 1), 41, `metadata key "k" occurs twice`},
		{"value type", header(0, 1).str("k").u32(13).zeros(8), 33, `value of key "k": unknown value type 13`},
		{"value cut", header(0, 1).str("k").u32(12).u32(0), 37, `truncated: value of key "k" needs 8 bytes, the file has 4 left`},
		{"boolean", header(0, 1).str("k").u32(7).u8(2), 37, `value of key "k": boolean is 2, must be 0 or 1`},
		{"string length", header(0, 1).str("k").u32(8).u64(1 << 62), 37, `value of key "k" claims 4611686018427387904 bytes, the file has 0 left`},
		{"array cut", header(0, 1).str("k").u32(9).u32(4), 41, `truncated: array of key "k"`},
		{"array length", header(0, 1).str("k").u32(9).u32(0).u64(huge), 49, `18446744073709551615 elements of the array of key "k" need at least 1 bytes each`},
		{"array length overflows", header(0, 1).str("k").u32(9).u32(12).u64(1 << 61), 49, "need at least 8 bytes each, the file has 0 left"},
		{"array of arrays", header(0, 1).str("k").u32(9).u32(9).u64(1).u32(0).u64(0), 37, `array of key "k": arrays of arrays are not supported`},
		{"array type", header(0, 1).str("k").u32(9).u32(99).u64(0), 37, `array of key "k": unknown element type 99`},
		{"array boolean", header(0, 1).str("k").u32(9).u32(7).u64(3).u8(0, 1, 3), 51, "boolean is 3"},
		{"array string count", header(0, 1).str("k").u32(9).u32(8).u64(huge), 49, "need at least 8 bytes each"},
		{"array string length", header(0, 1).str("k").u32(9).u32(8).u64(1).u64(huge), 49, `array of key "k" claims 18446744073709551615 bytes`},

		{"alignment type", header(0, 1).str("general.alignment").u32(10).u64(32), 24, `key "general.alignment" is not a uint32`},
		{"alignment array", header(0, 1).str("general.alignment").u32(9).u32(4).u64(0), 24, `key "general.alignment" is not a uint32`},
		{"alignment zero", header(0, 1).kvU32("general.alignment", 0), 24, `key "general.alignment" is 0, it must be a power of two of at least 8`},
		{"alignment 48", header(0, 1).kvU32("general.alignment", 48), 24, `key "general.alignment" is 48`},
		{"alignment 4", header(0, 1).kvU32("general.alignment", 4), 24, `key "general.alignment" is 4`},
		{"alignment past the end", header(1, 1).kvU32("general.alignment", 1<<31).tensor("t", gguf.F32, 0, 1).zeros(64), 90, "truncated: the data section starts at 2147483648"},

		{"tensor name long", header(1, 0).tensor(strings.Repeat("n", 65), gguf.F32, 0, 1).padTo(32).zeros(4), 24, "name of tensor 0 has 65 bytes, it must have 1 to 64"},
		{"tensor name empty", header(1, 0).tensor("", gguf.F32, 0, 1).zeros(9), 24, "name of tensor 0 has 0 bytes"},
		{"tensor name not UTF-8", header(1, 0).tensor("\xc0", gguf.F32, 0, 1).zeros(9), 24, `tensor "\xc0": name is not UTF-8`},
		{"tensor cut", header(1, 0).tensor("tensor", gguf.F32, 0, 1)[:60], 54, `truncated: tensor "tensor"`},
		{"no dimensions", header(1, 0).tensor("t", gguf.F32, 0).zeros(64), 24, `tensor "t" has 0 dimensions, it must have 1 to 4`},
		{"five dimensions", header(1, 0).tensor("t", gguf.F32, 0, 1, 1, 1, 1, 1).zeros(64), 24, `tensor "t" has 5 dimensions`},
		{"four billion dimensions", header(1, 0).str("t").u32(math.MaxUint32).zeros(64), 24, `tensor "t" has 4294967295 dimensions`},
		{"dimension zero", header(1, 0).tensor("t", gguf.F32, 0, 4, 0).zeros(64), 24, `tensor "t": dimension 1 is 0`},
		{"dimensions overflow 64 bits", header(1, 0).tensor("t", gguf.F32, 0, 1<<32, 1<<32).zeros(64), 24, `tensor "t": dimensions [4294967296 4294967296] overflow 63 bits`},
		{"dimensions overflow 63 bits", header(1, 0).tensor("t", gguf.Q8_0, 0, 1<<63).zeros(64), 24, "overflow 63 bits"},
		{"overflow hidden by a wrap", header(1, 0).tensor("t", gguf.F32, 0, 1<<33, 1<<33, 1<<62, 1).zeros(64), 24, "overflow 63 bits"},
		{"bytes overflow", header(1, 0).tensor("t", gguf.F32, 0, 1<<62).zeros(64), 24, `tensor "t": the size in bytes of dimensions [4611686018427387904] overflows 63 bits`},
		{"row width", header(1, 0).tensor("t", gguf.Q4_K, 0, 128, 2).zeros(64), 24, `tensor "t": row width 128 is not a multiple of the 256 elements in a block of Q4_K`},
		{"known type", header(1, 0).tensor("x", 16, 0, 256).zeros(128), 24, `tensor "x": type IQ2_XXS (16) is not supported; supported: F32 F16 Q4_0`},
		{"removed type", header(1, 0).tensor("x", 31, 0, 256).zeros(128), 24, "type Q4_0_4_4 (31) is not supported"},
		{"unknown type", header(1, 0).tensor("x", 1000, 0, 256).zeros(128), 24, "type unknown (1000) is not supported"},
		{"tensor twice", header(2, 0).tensor("t", gguf.F32, 0, 1).tensor("t", gguf.F32, 32, 1).padTo(32).zeros(64), 57, `tensor "t" occurs twice`},
		{"misaligned", header(1, 0).tensor("t", gguf.F32, 8, 1).padTo(32).zeros(64), 24, `tensor "t": offset 8 is not a multiple of the alignment 32`},
		{"overlap", header(2, 0).tensor("a", gguf.F32, 0, 9).tensor("b", gguf.F32, 32, 1).padTo(32).zeros(64), 57, `tensor "b" at data offset 32 overlaps tensor "a", 36 bytes at 0`},
		{"same place", header(2, 0).tensor("b", gguf.F32, 0, 1).tensor("a", gguf.F32, 0, 1).padTo(32).zeros(64), 57, `tensor "a" at data offset 0 overlaps tensor "b"`},
		{"no data section", header(1, 0).tensor("t", gguf.F32, 0, 1), 57, "truncated: the data section starts at 64, the file has 57 bytes"},
		{"data cut", header(1, 0).tensor("t", gguf.F32, 0, 1).padTo(32).zeros(3), 24, `tensor "t": 4 bytes at data offset 0 reach past the end of the file (data section: 3 bytes at 64)`},
		{"data of the second tensor cut", header(2, 0).tensor("a", gguf.F32, 0, 1).tensor("b", gguf.F32, 32, 2).padTo(32).zeros(39), 57, `tensor "b": 8 bytes at data offset 32 reach past the end of the file (data section: 39 bytes at 96)`},
		{"key count wraps", header(0, 1<<63).zeros(64), 24, "9223372036854775808 metadata entries need at least 14 bytes each"},
		{"data offset", header(1, 0).tensor("t", gguf.F32, huge&^31, 1).padTo(32).zeros(64), 24, "reach past the end of the file"},
		{"split number", header(0, 2).kvU32("split.no", 2).kvU32("split.count", 2), 24, `key "split.no" is 2, it must be below "split.count", 2`},
		{"split type", header(0, 1).str("split.count").u32(8).str("2"), 24, `key "split.count" is not a non-negative integer`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := gguf.Parse(tc.file)
			if err == nil {
				t.Fatalf("parsed to %d keys and %d tensors, want an error with %q", len(f.Keys()), len(f.Tensors()), tc.want)
			}
			var format *gguf.FormatError
			if !errors.As(err, &format) {
				t.Fatalf("error %v is not a FormatError", err)
			}
			if len(format.Reason) > 1000 {
				t.Errorf("the reason has %d bytes", len(format.Reason))
			}
			if format.Offset != tc.offset || !strings.Contains(format.Reason, tc.want) {
				t.Errorf("offset %d, reason %q\nwant offset %d, reason with %q", format.Offset, format.Reason, tc.offset, tc.want)
			}
		})
	}
}

// TestParseRefusesEveryPrefix cuts a valid file everywhere.
func TestParseRefusesEveryPrefix(t *testing.T) {
	whole := header(1, 3).
		kvU32("number", 7).
		str("list").u32(9).u32(8).u64(2).str("a").str("bc").
		str("name").u32(8).str("model").
		tensor("t", gguf.Q8_0, 0, 32, 2).padTo(32).zeros(68)
	if _, err := gguf.Parse(whole); err != nil {
		t.Fatalf("the whole file: %v", err)
	}
	for n := range whole {
		var format *gguf.FormatError
		if _, err := gguf.Parse(whole[:n]); !errors.As(err, &format) {
			t.Errorf("first %d of %d bytes: error %v, want a FormatError", n, len(whole), err)
		}
	}
}

// TestParseAcceptsEdges holds files that are unusual but valid.
func TestParseAcceptsEdges(t *testing.T) {
	for _, tc := range []struct {
		name string
		file raw
	}{
		{"version 2", raw("GGUF").u32(2).u64(0).u64(0)},
		{"nothing in it", header(0, 0)},
		{"no tensors and a large alignment", header(0, 1).kvU32("general.alignment", 1<<31)},
		{"longest name", header(1, 0).tensor(strings.Repeat("n", 64), gguf.F32, 0, 1).padTo(32).zeros(4)},
		{"no padding at the end", header(1, 0).tensor("t", gguf.F32, 0, 1).padTo(32).zeros(4)},
		{"gap and reverse order", header(2, 0).tensor("b", gguf.F32, 96, 8).tensor("a", gguf.F32, 0, 8).padTo(32).zeros(128)},
		{"trailing bytes", header(1, 0).tensor("t", gguf.F32, 0, 1).padTo(32).zeros(1000)},
		{"one part of one", header(0, 2).kvU32("split.no", 0).kvU32("split.count", 1)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := gguf.Parse(tc.file); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestHostileCountsAllocateLittle(t *testing.T) {
	for name, file := range map[string]raw{
		"keys":    header(0, math.MaxUint64),
		"tensors": header(math.MaxUint64, 0),
		"array":   header(0, 1).str("k").u32(9).u32(12).u64(math.MaxUint64 / 16),
		"strings": header(0, 1).str("k").u32(9).u32(8).u64(math.MaxUint64 / 16),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := gguf.Parse(file); err == nil {
			t.Errorf("%s: parsed", name)
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<10 {
			t.Errorf("%s: refusing %d bytes allocates %d bytes", name, len(file), n)
		}
	}
}
