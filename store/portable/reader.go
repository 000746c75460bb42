package portable

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Reader reads one export.
type Reader struct {
	r      io.Reader
	frames uint64
	data   int64
	buf    []byte // of the current frame; grows with what has arrived
}

// NewReader reads what an export begins with.
func NewReader(r io.Reader) (*Reader, error) {
	in := &Reader{r: r}
	head := make([]byte, headBytes)
	if err := in.full(head); err != nil {
		return nil, err
	}
	if [8]byte(head) != magic {
		return nil, fmt.Errorf("%w: it begins with other bytes", ErrFormat)
	}
	if v := binary.LittleEndian.Uint32(head[8:]); v != version {
		if v > version {
			return nil, fmt.Errorf("%w: version %d, this program reads %d", ErrNewer, v, version)
		}
		return nil, fmt.Errorf("%w: version %d", ErrFormat, v)
	}
	if binary.LittleEndian.Uint32(head[12:]) != 0 {
		return nil, fmt.Errorf("%w: unknown bits in the header", ErrFormat)
	}
	return in, nil
}

// Describe reads a description, which must be of a kind.
func (r *Reader) Describe(kind Kind, v any) error {
	b, err := r.frame(kind)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: frame %d: %w", ErrFormat, r.frames-1, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: frame %d has more than one description", ErrFormat, r.frames-1)
	}
	return nil
}

// Data gives n bytes of data frames piece by piece; pieces end where n does.
func (r *Reader) Data(n int64) func(yield func([]byte, error) bool) {
	return func(yield func([]byte, error) bool) {
		for n > 0 {
			b, err := r.frame(KindData)
			if err == nil && (len(b) == 0 || int64(len(b)) > n) {
				err = fmt.Errorf("%w: frame %d has %d bytes of data, %d are missing", ErrFormat, r.frames-1, len(b), n)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			n -= int64(len(b))
			r.data += int64(len(b))
			if !yield(b, nil) {
				return
			}
		}
	}
}

// End reads the end, and proves that nothing is missing and nothing follows.
func (r *Reader) End() error {
	frames, data := r.frames, r.data
	var e End
	if err := r.Describe(KindEnd, &e); err != nil {
		return err
	}
	if e.Frames != frames || e.Data != data {
		return fmt.Errorf("%w: it ends after %d frames and %d bytes of data, should be %d and %d", ErrFormat, frames, data, e.Frames, e.Data)
	}
	if n, err := io.ReadFull(r.r, make([]byte, 1)); n > 0 {
		return fmt.Errorf("%w: bytes follow its end", ErrFormat)
	} else if !errors.Is(err, io.EOF) {
		return fmt.Errorf("read export: %w", err)
	}
	return nil
}

// frame reads and verifies the next frame.
func (r *Reader) frame(kind Kind) ([]byte, error) {
	head := make([]byte, frameBytes)
	if err := r.full(head); err != nil {
		return nil, err
	}
	if Kind(head[0]) != kind || head[1] != 0 || head[2] != 0 || head[3] != 0 {
		return nil, fmt.Errorf("%w: frame %d is of kind %q, should be %q", ErrFormat, r.frames, head[:4], kind)
	}
	n := binary.LittleEndian.Uint32(head[4:])
	if n > MaxFrame {
		return nil, fmt.Errorf("%w: frame %d has %d bytes, at most %d are allowed", ErrFormat, r.frames, n, MaxFrame)
	}
	if int(n) > cap(r.buf) {
		r.buf = make([]byte, n)
	}
	b := r.buf[:n]
	if err := r.full(b); err != nil {
		return nil, err
	}
	if frameSum(r.frames, head, b) != binary.LittleEndian.Uint64(head[8:]) {
		return nil, fmt.Errorf("%w: frame %d does not have its checksum", ErrFormat, r.frames)
	}
	r.frames++
	return b, nil
}

// full fills b: the end of the file before that is an error of the format.
func (r *Reader) full(b []byte) error {
	_, err := io.ReadFull(r.r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it is cut off in frame %d", ErrFormat, r.frames)
	}
	if err != nil {
		return fmt.Errorf("read export: %w", err)
	}
	return nil
}
