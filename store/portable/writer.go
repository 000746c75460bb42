package portable

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// Writer writes one export.
type Writer struct {
	w      io.Writer
	frames uint64
	data   int64
	err    error // first one
}

// NewWriter begins an export.
func NewWriter(w io.Writer) *Writer {
	out := &Writer{w: w}
	head := make([]byte, headBytes)
	copy(head, magic[:])
	binary.LittleEndian.PutUint32(head[8:], version)
	out.write(head)
	return out
}

// Describe writes a description: a Session, Message, Blocks or Tail.
func (w *Writer) Describe(kind Kind, v any) error {
	b, err := json.Marshal(v)
	if err == nil && len(b) > MaxFrame {
		err = fmt.Errorf("%w: a description of %d bytes, at most %d are allowed", ErrFormat, len(b), MaxFrame)
	}
	if err != nil {
		return err
	}
	w.frame(kind, b)
	return w.err
}

// Data writes bytes, in as many frames as they take.
func (w *Writer) Data(b []byte) error {
	w.data += int64(len(b))
	for len(b) > 0 {
		n := min(len(b), MaxFrame)
		w.frame(KindData, b[:n])
		b = b[n:]
	}
	return w.err
}

// End completes the export.
func (w *Writer) End() error {
	return w.Describe(KindEnd, End{Frames: w.frames, Data: w.data})
}

func (w *Writer) frame(kind Kind, payload []byte) {
	head := make([]byte, frameBytes)
	head[0] = byte(kind)
	binary.LittleEndian.PutUint32(head[4:], uint32(len(payload)))
	binary.LittleEndian.PutUint64(head[8:], frameSum(w.frames, head, payload))
	w.frames++
	w.write(head)
	w.write(payload)
}

func (w *Writer) write(b []byte) {
	if w.err != nil {
		return
	}
	n, err := w.w.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	w.err = err
}
