package gguf

import (
	"encoding/binary"
	"math"
	"slices"
)

// Keys returns the metadata keys in file order. A split file's metadata is
// that of its first part.
func (f *File) Keys() []string { return slices.Clone(f.keys) }

func (f *File) scalar(key string) (value, bool) {
	v, ok := f.values[key]
	return v, ok && !v.array
}

func (f *File) array(key string) (value, bool) {
	v, ok := f.values[key]
	return v, ok && v.array
}

// String returns a string value.
func (f *File) String(key string) (string, bool) {
	v, ok := f.scalar(key)
	if !ok || v.typ != typeString {
		return "", false
	}
	return string(v.raw), true
}

// Uint returns an integer value of any width that is not negative.
func (f *File) Uint(key string) (uint64, bool) {
	v, ok := f.scalar(key)
	if !ok {
		return 0, false
	}
	u, ok := v.uint(0)
	if !ok {
		return 0, false
	}
	return u, true
}

// Float returns a floating-point or integer value.
func (f *File) Float(key string) (float64, bool) {
	v, ok := f.scalar(key)
	if !ok {
		return 0, false
	}
	return v.float()
}

// Bool returns a boolean value.
func (f *File) Bool(key string) (val, ok bool) {
	v, ok := f.scalar(key)
	if !ok || v.typ != typeBool {
		return false, false
	}
	return v.raw[0] != 0, true
}

// Strings returns an array of strings. The elements share one allocation of
// the whole array, so keeping one keeps all.
func (f *File) Strings(key string) ([]string, bool) {
	v, ok := f.array(key)
	if !ok || v.typ != typeString {
		return nil, false
	}
	return v.strings()
}

// Floats returns an array of float32.
func (f *File) Floats(key string) ([]float32, bool) {
	v, ok := f.array(key)
	if !ok || v.typ != typeFloat32 {
		return nil, false
	}
	return decodeFloat32s(v.raw), true
}

// Ints returns an integer array of any width whose elements all fit int32.
func (f *File) Ints(key string) ([]int32, bool) {
	v, ok := f.array(key)
	if !ok || v.typ.size() == 0 {
		return nil, false
	}
	out := make([]int32, v.n)
	for i := range out {
		n, ok := v.int(i)
		if !ok || n < math.MinInt32 || n > math.MaxInt32 {
			return nil, false
		}
		out[i] = int32(n)
	}
	return out, true
}

// Bools returns an array of booleans.
func (f *File) Bools(key string) ([]bool, bool) {
	v, ok := f.array(key)
	if !ok || v.typ != typeBool {
		return nil, false
	}
	return v.bools(), true
}

// Value returns a value in the Go type that matches its GGUF type: uint8 to
// int64, float32, float64, bool, string, or a slice of one of these.
func (f *File) Value(key string) (any, bool) {
	v, ok := f.values[key]
	if !ok {
		return nil, false
	}
	if !v.array {
		return v.scalar(), true
	}
	if v.typ == typeString {
		return v.strings()
	}
	return v.slice(), true
}

// scalar decodes a value that is not an array.
func (v value) scalar() any {
	le := binary.LittleEndian
	switch v.typ {
	case typeUint8:
		return v.raw[0]
	case typeInt8:
		return int8(v.raw[0])
	case typeUint16:
		return le.Uint16(v.raw)
	case typeInt16:
		return int16(le.Uint16(v.raw))
	case typeUint32:
		return le.Uint32(v.raw)
	case typeInt32:
		return int32(le.Uint32(v.raw))
	case typeUint64:
		return le.Uint64(v.raw)
	case typeInt64:
		return int64(le.Uint64(v.raw))
	case typeFloat32:
		return math.Float32frombits(le.Uint32(v.raw))
	case typeFloat64:
		return math.Float64frombits(le.Uint64(v.raw))
	case typeBool:
		return v.raw[0] != 0
	default:
		return string(v.raw)
	}
}

// slice decodes an array of fixed-size values.
func (v value) slice() any {
	le := binary.LittleEndian
	switch v.typ {
	case typeUint8:
		return slices.Clone(v.raw)
	case typeInt8:
		return decode(v, func(b []byte) int8 { return int8(b[0]) })
	case typeUint16:
		return decode(v, le.Uint16)
	case typeInt16:
		return decode(v, func(b []byte) int16 { return int16(le.Uint16(b)) })
	case typeUint32:
		return decode(v, le.Uint32)
	case typeInt32:
		return decode(v, func(b []byte) int32 { return int32(le.Uint32(b)) })
	case typeUint64:
		return decode(v, le.Uint64)
	case typeInt64:
		return decode(v, func(b []byte) int64 { return int64(le.Uint64(b)) })
	case typeFloat32:
		return decodeFloat32s(v.raw)
	case typeFloat64:
		return decode(v, func(b []byte) float64 { return math.Float64frombits(le.Uint64(b)) })
	default:
		return v.bools()
	}
}

func (v value) bools() []bool {
	return decode(v, func(b []byte) bool { return b[0] != 0 })
}

func decode[T any](v value, element func([]byte) T) []T {
	size := v.typ.size()
	out := make([]T, v.n)
	for i := range out {
		out[i] = element(v.raw[i*size:])
	}
	return out
}

func decodeFloat32s(raw []byte) []float32 {
	out := make([]float32, len(raw)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return out
}
