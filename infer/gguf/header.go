package gguf

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"unicode/utf8"
)

const (
	magic            = "GGUF"
	defaultAlignment = 32 // bytes, when the file has no general.alignment
	minAlignment     = 8  // bytes, the smallest that the format allows

	// Smallest encodings, which bound what a count may claim.
	minKeyValueBytes   = 8 + 1 + 4 + 1         // name length, name, type, value
	minTensorInfoBytes = 8 + 1 + 4 + 8 + 4 + 8 // name length, name, dimensions, one of them, type, offset
)

// part is the parsed header of one file.
type part struct {
	size    int64
	keys    []string
	values  map[string]value
	tensors []Tensor
}

// parsePart reads and checks the header of one file, b, whole.
func parsePart(b []byte) (*part, error) {
	c := &cursor{b: b}
	tensorCount, kvCount, err := readPrologue(c)
	if err != nil {
		return nil, err
	}
	p := &part{size: int64(len(b)), values: make(map[string]value)}
	if err := p.readMetadata(c, kvCount); err != nil {
		return nil, err
	}
	align, err := p.alignment()
	if err != nil {
		return nil, err
	}
	if err := p.readTensorInfos(c, tensorCount, align); err != nil {
		return nil, err
	}
	return p, nil
}

func readPrologue(c *cursor) (tensorCount, kvCount uint64, err error) {
	m, err := c.take(4, "magic")
	if err != nil {
		return 0, 0, err
	}
	if string(m) != magic {
		return 0, 0, formatErrorf(0, "not a GGUF file: it starts with %q, not %q", m, magic)
	}
	version, err := c.uint32("version")
	if err != nil {
		return 0, 0, err
	}
	// The number is small, so zero low bytes mean the other byte order.
	if version != 0 && version&0xffff == 0 {
		return 0, 0, formatErrorf(4, "big-endian GGUF version %d is not supported, only little-endian files are", bits.ReverseBytes32(version))
	}
	if version != 2 && version != 3 {
		return 0, 0, formatErrorf(4, "GGUF version %d is not supported, only 2 and 3 are", version)
	}
	if tensorCount, err = c.uint64("tensor count"); err != nil {
		return 0, 0, err
	}
	if kvCount, err = c.uint64("metadata count"); err != nil {
		return 0, 0, err
	}
	return tensorCount, kvCount, nil
}

func (p *part) readMetadata(c *cursor, n uint64) error {
	if err := c.count(n, minKeyValueBytes, "metadata entries"); err != nil {
		return err
	}
	for i := range n {
		start := c.off
		key, err := c.name(fmt.Sprintf("metadata key %d", i), maxKeyBytes)
		if err != nil {
			return err
		}
		if !utf8.ValidString(key) {
			return formatErrorf(start, "metadata key %.80q is not UTF-8", key)
		}
		if _, ok := p.values[key]; ok {
			return formatErrorf(start, "metadata key %.80q occurs twice", key)
		}
		v, err := readValue(c, key)
		if err != nil {
			return err
		}
		v.off = start
		p.keys = append(p.keys, key)
		p.values[key] = v
	}
	return nil
}

// alignment returns the alignment of tensor data in bytes.
func (p *part) alignment() (uint64, error) {
	const key = "general.alignment"
	v, ok := p.values[key]
	if !ok {
		return defaultAlignment, nil
	}
	if v.array || v.typ != typeUint32 {
		return 0, formatErrorf(v.off, "key %.80q is not a uint32", key)
	}
	align, _ := v.uint(0)
	if align < minAlignment || bits.OnesCount64(align) != 1 {
		return 0, formatErrorf(v.off, "key %.80q is %d, it must be a power of two of at least %d", key, align, minAlignment)
	}
	return align, nil
}

// tensorInfo is a tensor's header entry before its data is located.
type tensorInfo struct {
	Tensor
	start    int    // offset of the entry itself
	dataOff  uint64 // offset relative to the data section
	numBytes uint64
}

func (p *part) readTensorInfos(c *cursor, n, align uint64) error {
	if err := c.count(n, minTensorInfoBytes, "tensors"); err != nil {
		return err
	}
	seen := make(map[string]struct{})
	var infos []tensorInfo
	for i := range n {
		t, err := readTensorInfo(c, i)
		if err != nil {
			return err
		}
		if _, ok := seen[t.Name]; ok {
			return formatErrorf(t.start, "tensor %q occurs twice", t.Name)
		}
		if t.dataOff%align != 0 {
			return formatErrorf(t.start, "tensor %q: offset %d is not a multiple of the alignment %d", t.Name, t.dataOff, align)
		}
		seen[t.Name] = struct{}{}
		infos = append(infos, t)
	}
	if err := checkOverlap(infos); err != nil {
		return err
	}
	return p.locate(c, infos, align)
}

func readTensorInfo(c *cursor, i uint64) (tensorInfo, error) {
	t := tensorInfo{start: c.off}
	var err error
	if t.Name, err = c.name(fmt.Sprintf("name of tensor %d", i), maxTensorNameBytes); err != nil {
		return t, err
	}
	what := fmt.Sprintf("tensor %q", t.Name)
	if !utf8.ValidString(t.Name) {
		return t, formatErrorf(t.start, "%s: name is not UTF-8", what)
	}
	nDims, err := c.uint32(what)
	if err != nil {
		return t, err
	}
	if nDims == 0 || nDims > maxDims {
		return t, formatErrorf(t.start, "%s has %d dimensions, it must have 1 to %d", what, nDims, maxDims)
	}
	t.Dims = make([]uint64, nDims)
	for d := range t.Dims {
		if t.Dims[d], err = c.uint64(what); err != nil {
			return t, err
		}
	}
	typ, err := c.uint32(what)
	if err != nil {
		return t, err
	}
	t.Type = Type(typ)
	if t.dataOff, err = c.uint64(what); err != nil {
		return t, err
	}
	t.numBytes, err = t.checkShape()
	return t, err
}

// checkShape returns the bytes that the tensor's type and dimensions take.
func (t *tensorInfo) checkShape() (uint64, error) {
	if !t.Type.Supported() {
		return 0, formatErrorf(t.start, "tensor %q: %s", t.Name, t.Type.unsupported())
	}
	block := uint64(t.Type.BlockElems())
	if t.Dims[0]%block != 0 {
		return 0, formatErrorf(t.start, "tensor %q: row width %d is not a multiple of the %d elements in a block of %s",
			t.Name, t.Dims[0], block, t.Type)
	}
	elems := uint64(1)
	for i, d := range t.Dims {
		hi, lo := bits.Mul64(elems, d)
		if d == 0 {
			return 0, formatErrorf(t.start, "tensor %q: dimension %d is 0", t.Name, i)
		}
		if hi != 0 || lo > math.MaxInt64 {
			return 0, formatErrorf(t.start, "tensor %q: dimensions %d overflow 63 bits", t.Name, t.Dims)
		}
		elems = lo
	}
	hi, n := bits.Mul64(elems/block, uint64(t.Type.BlockBytes()))
	if hi != 0 || n > math.MaxInt64 {
		return 0, formatErrorf(t.start, "tensor %q: the size in bytes of dimensions %d overflows 63 bits", t.Name, t.Dims)
	}
	return n, nil
}

// checkOverlap refuses two tensors that share bytes.
func checkOverlap(infos []tensorInfo) error {
	order := make([]int, len(infos))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		if infos[a].dataOff < infos[b].dataOff {
			return -1
		}
		if infos[a].dataOff > infos[b].dataOff {
			return 1
		}
		return a - b
	})
	for i := 1; i < len(order); i++ {
		a, b := &infos[order[i-1]], &infos[order[i]]
		if b.dataOff-a.dataOff < a.numBytes {
			return formatErrorf(b.start, "tensor %q at data offset %d overlaps tensor %q, %d bytes at %d",
				b.Name, b.dataOff, a.Name, a.numBytes, a.dataOff)
		}
	}
	return nil
}

// locate slices the data of each tensor; c stands after the last entry, which
// the data section follows at the next multiple of align.
func (p *part) locate(c *cursor, infos []tensorInfo, align uint64) error {
	base := (uint64(c.off) + align - 1) &^ (align - 1)
	size := uint64(len(c.b))
	if len(infos) > 0 && base > size {
		return formatErrorf(c.off, "truncated: the data section starts at %d, the file has %d bytes", base, size)
	}
	p.tensors = make([]Tensor, 0, len(infos))
	for _, t := range infos {
		if t.dataOff > size-base || t.numBytes > size-base-t.dataOff {
			return formatErrorf(t.start, "tensor %q: %d bytes at data offset %d reach past the end of the file (data section: %d bytes at %d)",
				t.Name, t.numBytes, t.dataOff, size-base, base)
		}
		begin, end := base+t.dataOff, base+t.dataOff+t.numBytes
		t.Offset = int64(begin)
		t.Data = c.b[begin:end:end]
		p.tensors = append(p.tensors, t.Tensor)
	}
	return nil
}
