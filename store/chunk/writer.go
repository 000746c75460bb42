package chunk

import (
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"

	"edged/store/disk"
)

// writeBytes is handed to the file at once.
const writeBytes = 1 << 20

// Writer writes one chunk file.
type Writer struct {
	fs      disk.FS
	f       disk.File
	head    header
	aead    cipher.AEAD // nil: in clear
	extents []Extent
	off     int64 // where the next byte goes
	buf     []byte
	segment []byte // sealed only: of the current extent, not sealed yet
	nSeg    int
	sum     extentSum // of the current extent
	inside  bool      // between Begin and End
	err     error     // first one; everything after it is refused
}

// Create starts a chunk under a temporary name.
func Create(fs disk.FS, id ID, key *Key) (*Writer, error) {
	w := &Writer{fs: fs, head: header{version: versionXXH3, id: id, sealed: key != nil}, buf: make([]byte, 0, writeBytes)}
	w.sum = w.head.newSum()
	if key != nil {
		rand.Read(w.head.salt[:])
		a, err := key.aead(w.head)
		if err != nil {
			return nil, err
		}
		w.aead = a
		w.segment = make([]byte, 0, SegmentBytes)
	}
	f, err := fs.Create(tmpName(id.Number))
	if err != nil {
		return nil, err
	}
	w.f = f
	w.put(w.head.encode())
	return w, nil
}

// Room is the most payload bytes that another extent may have; 0: the chunk is
// full.
func (w *Writer) Room() int64 {
	used := w.off + int64(len(w.extents)+1)*entryBytes + footerBytes
	if len(w.extents) >= maxExtents || used >= MaxBytes {
		return 0
	}
	return max(0, min(MaxExtent, payloadBytes(MaxBytes-used, w.head.sealed)))
}

// Begin starts an extent. Its payload is given to Write, and End ends it.
func (w *Writer) Begin() {
	w.sum.Reset()
	w.nSeg, w.inside = 0, true
	w.extents = append(w.extents, Extent{Off: w.off})
}

// Write adds to the extent that was begun. It keeps nothing of p.
func (w *Writer) Write(p []byte) (int, error) {
	e := &w.extents[len(w.extents)-1]
	if !w.inside || e.Len+int64(len(p)) > MaxExtent {
		return 0, fmt.Errorf("write chunk: %w", ErrExtent)
	}
	e.Len += int64(len(p))
	n := len(p)
	if w.aead == nil {
		w.body(p)
		return n, w.err
	}
	for len(p) > 0 {
		if len(w.segment) == SegmentBytes { // more follows, so that this is not the last
			w.seal(false)
		}
		k := min(len(p), SegmentBytes-len(w.segment))
		w.segment = append(w.segment, p[:k]...)
		p = p[k:]
	}
	return n, w.err
}

// seal writes the segment that has been gathered.
func (w *Writer) seal(last bool) {
	off := w.extents[len(w.extents)-1].Off
	w.body(w.aead.Seal(nil, nonce(off, w.nSeg, last), w.segment, nil))
	w.segment = w.segment[:0]
	w.nSeg++
}

// End ends the extent and says where it lies.
func (w *Writer) End() (Extent, error) {
	if len(w.segment) > 0 {
		w.seal(true)
	}
	e := &w.extents[len(w.extents)-1]
	e.Disk, e.Sum = w.off-e.Off, w.sum.Sum64()
	w.inside = false
	return *e, w.err
}

// body adds bytes of an extent, as they lie on disk.
func (w *Writer) body(p []byte) {
	w.sum.Write(p)
	w.put(p)
}

// put adds bytes to the file.
func (w *Writer) put(p []byte) {
	w.off += int64(len(p))
	if len(w.buf)+len(p) > cap(w.buf) {
		w.flush()
	}
	if len(p) > cap(w.buf) {
		w.write(p)
		return
	}
	w.buf = append(w.buf, p...)
}

func (w *Writer) flush() {
	w.write(w.buf)
	w.buf = w.buf[:0]
}

func (w *Writer) write(p []byte) {
	if w.err != nil || len(p) == 0 {
		return
	}
	n, err := w.f.Write(p)
	if err == nil && n < len(p) {
		err = fmt.Errorf("wrote %d of %d bytes", n, len(p))
	}
	w.err = err
}

// Finish writes the table, makes the bytes durable and gives the file its
// name. The name is durable when the caller has synced [Dir]. On an error
// nothing is left of the file.
func (w *Writer) Finish() (Finished, error) {
	table, sum := encodeTable(w.head.encode(), w.extents)
	w.put(table)
	w.flush()
	ref := Ref{Number: w.head.id.Number, Sum: sum, Bytes: w.off}
	used := w.off - int64(len(table)) - headerBytes
	if w.err == nil {
		w.err = w.f.Sync()
	}
	if err := w.f.Close(); w.err == nil {
		w.err = err
	}
	w.f = nil
	if w.err == nil {
		w.err = w.fs.Rename(tmpName(ref.Number), ref.Name())
	}
	if w.err != nil {
		return Finished{}, errors.Join(fmt.Errorf("write chunk: %w", w.err), w.fs.Remove(tmpName(ref.Number)))
	}
	return Finished{ref, used}, nil
}

// Abort removes what was written. It does nothing after Finish.
func (w *Writer) Abort() error {
	if w.f == nil {
		return nil
	}
	err := errors.Join(w.f.Close(), w.fs.Remove(tmpName(w.head.id.Number)))
	w.f = nil
	return err
}
