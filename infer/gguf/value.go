package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
)

// valueType is the type tag of a metadata value.
type valueType uint32

const (
	typeUint8 valueType = iota
	typeInt8
	typeUint16
	typeInt16
	typeUint32
	typeInt32
	typeFloat32
	typeBool
	typeString
	typeArray
	typeUint64
	typeInt64
	typeFloat64
)

// size is the width of a fixed-size value in bytes, 0 for strings, arrays and
// unknown tags.
func (t valueType) size() int {
	switch t {
	case typeUint8, typeInt8, typeBool:
		return 1
	case typeUint16, typeInt16:
		return 2
	case typeUint32, typeInt32, typeFloat32:
		return 4
	case typeUint64, typeInt64, typeFloat64:
		return 8
	default:
		return 0
	}
}

// value is one metadata value, left in the file until it is asked for.
type value struct {
	typ   valueType // of the value, or of the elements when array is set
	array bool
	off   int    // of the metadata entry, in bytes from the start of the file
	n     int    // elements; 1 for a scalar
	raw   []byte // payload: a scalar, packed scalars, or length-prefixed strings of an array
}

// readValue reads and checks the value of key.
func readValue(c *cursor, key string) (value, error) {
	start := c.off
	tag, err := c.uint32(fmt.Sprintf("value type of key %.80q", key))
	if err != nil {
		return value{}, err
	}
	if valueType(tag) == typeArray {
		return readArray(c, key)
	}
	what := fmt.Sprintf("value of key %.80q", key)
	if valueType(tag) == typeString {
		raw, err := c.bytes(what)
		return value{typ: typeString, n: 1, raw: raw}, err
	}
	return readPacked(c, value{typ: valueType(tag), n: 1}, start, what)
}

func readArray(c *cursor, key string) (value, error) {
	what := fmt.Sprintf("array of key %.80q", key)
	start := c.off
	tag, err := c.uint32(what)
	if err != nil {
		return value{}, err
	}
	n, err := c.uint64(what)
	if err != nil {
		return value{}, err
	}
	v := value{typ: valueType(tag), array: true}
	if v.typ == typeArray {
		return value{}, formatErrorf(start, "%s: arrays of arrays are not supported", what)
	}
	elemBytes := uint64(v.typ.size())
	if v.typ == typeString {
		elemBytes = 8 // the length prefix
	}
	if elemBytes == 0 {
		return value{}, formatErrorf(start, "%s: unknown element type %d", what, tag)
	}
	if err := c.count(n, elemBytes, "elements of the "+what); err != nil {
		return value{}, err
	}
	v.n = int(n)
	if v.typ == typeString {
		return readStringArray(c, v, what)
	}
	return readPacked(c, v, start, what)
}

// readPacked takes v.n fixed-size values; start is the offset of their tag.
func readPacked(c *cursor, v value, start int, what string) (value, error) {
	size := v.typ.size()
	if size == 0 {
		return value{}, formatErrorf(start, "%s: unknown value type %d", what, uint32(v.typ))
	}
	first := c.off
	raw, err := c.take(uint64(v.n)*uint64(size), what)
	if err != nil {
		return value{}, err
	}
	if v.typ == typeBool {
		for i, b := range raw {
			if b > 1 {
				return value{}, formatErrorf(first+i, "%s: boolean is %d, must be 0 or 1", what, b)
			}
		}
	}
	v.raw = raw
	return v, nil
}

// readStringArray walks the strings once, so that later access knows where
// the array ends.
func readStringArray(c *cursor, v value, what string) (value, error) {
	start := c.off
	for range v.n {
		if _, err := c.bytes(what); err != nil {
			return value{}, err
		}
	}
	v.raw = c.b[start:c.off]
	return v, nil
}

// uint decodes element i of an integer value; ok is false for other types and
// for negative numbers.
func (v value) uint(i int) (u uint64, ok bool) {
	if n, ok := v.int(i); ok {
		return uint64(n), n >= 0
	}
	if v.typ != typeUint64 {
		return 0, false
	}
	return binary.LittleEndian.Uint64(v.raw[8*i:]), true
}

// int decodes element i of an integer value; ok is false for other types and
// for numbers above MaxInt64.
func (v value) int(i int) (n int64, ok bool) {
	le := binary.LittleEndian
	switch v.typ {
	case typeUint8:
		return int64(v.raw[i]), true
	case typeInt8:
		return int64(int8(v.raw[i])), true
	case typeUint16:
		return int64(le.Uint16(v.raw[2*i:])), true
	case typeInt16:
		return int64(int16(le.Uint16(v.raw[2*i:]))), true
	case typeUint32:
		return int64(le.Uint32(v.raw[4*i:])), true
	case typeInt32:
		return int64(int32(le.Uint32(v.raw[4*i:]))), true
	case typeUint64:
		u := le.Uint64(v.raw[8*i:])
		return int64(u), u <= math.MaxInt64
	case typeInt64:
		return int64(le.Uint64(v.raw[8*i:])), true
	default:
		return 0, false
	}
}

// float decodes a scalar number.
func (v value) float() (float64, bool) {
	switch v.typ {
	case typeFloat32:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(v.raw))), true
	case typeFloat64:
		return math.Float64frombits(binary.LittleEndian.Uint64(v.raw)), true
	}
	if n, ok := v.int(0); ok {
		return float64(n), true
	}
	u, ok := v.uint(0)
	return float64(u), ok
}

// strings copies an array of strings in one allocation, and walks the copy:
// a file that is changed in place cannot mislead it, and strings that Go
// takes for immutable are.
func (v value) strings() ([]string, bool) {
	blob := string(v.raw)
	out := make([]string, v.n)
	for i := range out {
		if len(blob) < 8 {
			return nil, false
		}
		n := binary.LittleEndian.Uint64([]byte(blob[:8]))
		blob = blob[8:]
		if n > uint64(len(blob)) {
			return nil, false
		}
		out[i], blob = blob[:n], blob[n:]
	}
	return out, true
}
