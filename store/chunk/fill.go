package chunk

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// hotBytes is read at once, and verified while the processor's caches have it.
const hotBytes = 256 << 10

// Fill reads an extent's payload into slices that are as long together, and
// verifies it. After an error they hold anything. buf is memory for a sealed
// extent's bytes, and grows when it has to.
func (r *Reader) Fill(e Extent, to [][]byte, buf *[]byte) error {
	err := r.check(e)
	var n int64
	for _, b := range to {
		n += int64(len(b))
	}
	switch {
	case err != nil:
	case n != e.Len:
		err = fmt.Errorf("%w: %d bytes of payload into memory of %d", ErrExtent, e.Len, n)
	case r.head.sealed:
		err = r.unsealTo(e, to, buf)
	default:
		err = r.readTo(e, to)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", r.ref.Name(), err)
	}
	return nil
}

// readTo reads an extent in clear to where it is wanted, so that it is moved once.
func (r *Reader) readTo(e Extent, to [][]byte) error {
	sum := r.head.newSum()
	off, piece := e.Off, make([][]byte, 0, 16)
	to = slices.Clone(to)
	for len(to) > 0 {
		var n int
		piece, to, n = cut(piece[:0], to, hotBytes)
		k, err := r.f.ReadVec(piece, off)
		if k < n {
			if err == nil || errors.Is(err, io.EOF) {
				return fmt.Errorf("%w: file ends at %d", ErrCorrupt, off+int64(k))
			}
			return err
		}
		for _, b := range piece {
			_, _ = sum.Write(b) // it never fails
		}
		off += int64(n)
	}
	return r.compare(e, sum.Sum64())
}

// cut takes the first n bytes, or all there are, from slices.
func cut(piece, from [][]byte, n int) (_, rest [][]byte, bytes int) {
	for len(from) > 0 && bytes < n {
		b := from[0]
		if k := n - bytes; len(b) > k {
			from[0], b = b[k:], b[:k]
		} else {
			from = from[1:]
		}
		piece, bytes = append(piece, b), bytes+len(b)
	}
	return piece, from, bytes
}

func (r *Reader) unsealTo(e Extent, to [][]byte, buf *[]byte) error {
	if int64(cap(*buf)) < e.Disk {
		*buf = make([]byte, e.Disk)
	}
	b := (*buf)[:e.Disk]
	if err := r.readAt(b, e.Off); err != nil {
		return err
	}
	payload, err := r.payload(e, b)
	if err != nil {
		return err
	}
	for _, x := range to {
		payload = payload[copy(x, payload):]
	}
	return nil
}
