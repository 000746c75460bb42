package gguf

import "encoding/binary"

// Limits of the format and of ggml, checked before anything is allocated.
const (
	maxKeyBytes        = 1<<16 - 1
	maxTensorNameBytes = 64
	maxDims            = 4
)

// cursor reads the header of one file front to back and never past its end.
// Every length is compared with what is left before it is used.
type cursor struct {
	b   []byte
	off int // bytes from the start of b
}

func (c *cursor) left() uint64 { return uint64(len(c.b) - c.off) }

// take returns the next n bytes, a view into the file.
func (c *cursor) take(n uint64, what string) ([]byte, error) {
	if n > c.left() {
		return nil, formatErrorf(c.off, "truncated: %s needs %d bytes, the file has %d left", what, n, c.left())
	}
	b := c.b[c.off : c.off+int(n)]
	c.off += int(n)
	return b, nil
}

func (c *cursor) uint32(what string) (uint32, error) {
	b, err := c.take(4, what)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

func (c *cursor) uint64(what string) (uint64, error) {
	b, err := c.take(8, what)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

// bytes reads a length-prefixed string without copying it.
func (c *cursor) bytes(what string) ([]byte, error) {
	start := c.off
	n, err := c.uint64(what)
	if err != nil {
		return nil, err
	}
	if n > c.left() {
		return nil, formatErrorf(start, "%s claims %d bytes, the file has %d left", what, n, c.left())
	}
	return c.take(n, what)
}

// name reads a key or tensor name of 1 to limit bytes.
func (c *cursor) name(what string, limit int) (string, error) {
	start := c.off
	b, err := c.bytes(what)
	if err != nil {
		return "", err
	}
	if len(b) == 0 || len(b) > limit {
		return "", formatErrorf(start, "%s has %d bytes, it must have 1 to %d", what, len(b), limit)
	}
	return string(b), nil
}

// count checks that n items of at least minBytes each can still follow.
func (c *cursor) count(n, minBytes uint64, what string) error {
	if n > c.left()/minBytes {
		return formatErrorf(c.off, "%d %s need at least %d bytes each, the file has %d left", n, what, minBytes, c.left())
	}
	return nil
}
