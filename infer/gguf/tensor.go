package gguf

import (
	"encoding/binary"
	"unsafe"
)

// Tensor is one weight array in the file.
type Tensor struct {
	Name   string
	Type   Type
	Dims   []uint64 // elements per dimension, 1 to 4 of them; Dims[0] is a row and varies fastest
	Data   []byte   // the rows, each Type.RowBytes(Dims[0]) long, in the mapping: read-only, valid until File.Close
	Offset int64    // of Data, in bytes from the start of the file that holds it
}

// Rows returns the number of rows and the elements in each: width is Dims[0],
// n the product of the other dimensions.
func (t Tensor) Rows() (n, width int) {
	n = 1
	for _, d := range t.Dims[1:] {
		n *= int(d)
	}
	return n, int(t.Dims[0])
}

// Row returns the encoded bytes of row i; it panics when i is out of range,
// like an index.
func (t Tensor) Row(i int) []byte {
	n := t.Type.RowBytes(int(t.Dims[0]))
	return t.Data[i*n : (i+1)*n : (i+1)*n]
}

// Float32s returns the elements of an F32 tensor, a view into the mapping
// where the host's byte order and the data's alignment allow one (always for
// a File from Open on a little-endian host), else a copy. ok is false for
// other types. Treat the result as Data: read-only, valid until File.Close.
func (t Tensor) Float32s() (v []float32, ok bool) {
	if t.Type != F32 {
		return nil, false
	}
	if len(t.Data) == 0 || !littleEndianHost() || uintptr(unsafe.Pointer(&t.Data[0]))%unsafe.Alignof(float32(0)) != 0 {
		return decodeFloat32s(t.Data), true
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(&t.Data[0])), len(t.Data)/4), true
}

func littleEndianHost() bool {
	return binary.NativeEndian.Uint16([]byte{1, 0}) == 1
}
