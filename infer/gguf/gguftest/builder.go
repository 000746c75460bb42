// Package gguftest makes GGUF files for tests and tools: a Builder that writes
// metadata and tensors to bytes, one file or a split file, and RandomBlocks,
// which fills tensors of every supported type with sane random weights.
//
// It trusts its caller, unlike package gguf: misuse gives an error from the
// method that writes. A Builder holds the whole model in memory and is not
// safe for concurrent use.
package gguftest

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"edged/infer/gguf"
)

const keyAlignment = "general.alignment"

// Builder collects a model. The zero value is an empty GGUF version 3 file
// with tensor data aligned to 32 bytes; Set("general.alignment", uint32(n))
// changes the alignment.
type Builder struct {
	Version uint32 // 0 means 3

	metadata  []keyValue
	tensors   []tensor
	alignment uint32
	err       error // of the first misuse
}

type keyValue struct {
	key     string
	encoded []byte // type tag and payload
}

type tensor struct {
	name string
	typ  gguf.Type
	dims []uint64
	data []byte
}

// Set adds a metadata value. Its Go type chooses the GGUF type, as in
// gguf.File.Value: uint8 to int64, float32, float64, bool, string, or a slice
// of one of these.
func (b *Builder) Set(key string, v any) {
	encoded, err := appendValue(nil, v)
	if err != nil {
		b.fail(fmt.Errorf("set key %q: %w", key, err))
	}
	if n, ok := v.(uint32); ok && key == keyAlignment {
		b.alignment = n
	}
	b.metadata = append(b.metadata, keyValue{key, encoded})
}

// Tensor adds a tensor of encoded rows; dims[0] is the row width in elements.
func (b *Builder) Tensor(name string, typ gguf.Type, dims []uint64, data []byte) {
	want := uint64(0)
	if len(dims) > 0 {
		want = uint64(typ.RowBytes(int(dims[0])))
		for _, d := range dims[1:] {
			want *= d
		}
	}
	if uint64(len(data)) != want {
		b.fail(fmt.Errorf("add tensor %q: %s %d takes %d bytes, got %d", name, typ, dims, want, len(data)))
	}
	b.tensors = append(b.tensors, tensor{name, typ, dims, data})
}

// Float32s adds an F32 tensor.
func (b *Builder) Float32s(name string, dims []uint64, v []float32) {
	data := make([]byte, 0, 4*len(v))
	for _, x := range v {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
	}
	b.Tensor(name, gguf.F32, dims, data)
}

func (b *Builder) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// Bytes returns the model as one file.
func (b *Builder) Bytes() ([]byte, error) {
	if b.err != nil {
		return nil, fmt.Errorf("build GGUF: %w", b.err)
	}
	return b.encode(b.metadata, b.tensors), nil
}

// WriteFile writes the model as one file.
func (b *Builder) WriteFile(path string) error {
	data, err := b.Bytes()
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

// WriteSplit writes the model as dir/NAME-00001-of-0000N.gguf and so on, with
// runs of tensors of nearly equal number in the n parts, and returns the paths.
func (b *Builder) WriteSplit(dir, name string, n int) ([]string, error) {
	if b.err != nil {
		return nil, fmt.Errorf("build GGUF: %w", b.err)
	}
	if n < 1 || n > math.MaxUint16 {
		return nil, fmt.Errorf("split GGUF in %d parts: must be 1 to %d", n, math.MaxUint16)
	}
	var paths []string
	for no := range n {
		part := Builder{}
		part.Set("split.no", uint16(no))
		part.Set("split.count", uint16(n))
		part.Set("split.tensors.count", int32(len(b.tensors)))
		if no == 0 {
			part.metadata = append(part.metadata, b.metadata...)
		} else if b.alignment != 0 {
			part.Set(keyAlignment, b.alignment)
		}
		begin, end := no*len(b.tensors)/n, (no+1)*len(b.tensors)/n
		path := filepath.Join(dir, fmt.Sprintf("%s-%05d-of-%05d.gguf", name, no+1, n))
		if err := os.WriteFile(path, b.encode(part.metadata, b.tensors[begin:end]), 0o644); err != nil {
			return nil, fmt.Errorf("write part %d of %d: %w", no+1, n, err)
		}
		paths = append(paths, path)
	}
	return paths, nil
}

func (b *Builder) encode(metadata []keyValue, tensors []tensor) []byte {
	le := binary.LittleEndian
	version := b.Version
	if version == 0 {
		version = 3
	}
	out := le.AppendUint32([]byte("GGUF"), version)
	out = le.AppendUint64(out, uint64(len(tensors)))
	out = le.AppendUint64(out, uint64(len(metadata)))
	for _, kv := range metadata {
		out = append(appendString(out, kv.key), kv.encoded...)
	}
	offset := uint64(0)
	for _, t := range tensors {
		out = appendString(out, t.name)
		out = le.AppendUint32(out, uint32(len(t.dims)))
		for _, d := range t.dims {
			out = le.AppendUint64(out, d)
		}
		out = le.AppendUint32(out, uint32(t.typ))
		out = le.AppendUint64(out, offset)
		offset += uint64(len(t.data)) + b.padding(uint64(len(t.data)))
	}
	for _, t := range tensors {
		out = append(b.pad(out), t.data...)
	}
	return b.pad(out)
}

// padding returns the bytes from n to the next multiple of the alignment.
func (b *Builder) padding(n uint64) uint64 {
	align := uint64(b.alignment)
	if align == 0 {
		align = 32
	}
	return (align - n%align) % align
}

func (b *Builder) pad(out []byte) []byte {
	return append(out, make([]byte, b.padding(uint64(len(out))))...)
}

func appendString(out []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(out, uint64(len(s))), s...)
}
