package chunk

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"edged/store/disk"
)

// Reader reads one finished chunk file.
type Reader struct {
	f    disk.File
	ref  Ref
	head header
	aead cipher.AEAD // nil: in clear
}

// Open opens a chunk and verifies that the file is this chunk of this store,
// and as long as it should be. A sealed chunk needs the key to be read, not to
// be checked: key may be nil for the latter.
func Open(fs disk.FS, store [16]byte, ref Ref, key *Key) (*Reader, error) {
	f, err := fs.Open(ref.Name())
	if err != nil {
		return nil, err
	}
	r := &Reader{f: f, ref: ref}
	if err := r.verifyHead(store, key); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", ref.Name(), err), f.Close())
	}
	return r, nil
}

func (r *Reader) verifyHead(store [16]byte, key *Key) error {
	size, err := r.f.Size()
	if err != nil {
		return err
	}
	if size != r.ref.Bytes {
		return fmt.Errorf("%w: %d bytes, %d were written", ErrCorrupt, size, r.ref.Bytes)
	}
	b := make([]byte, headerBytes)
	if err := r.readAt(b, 0); err != nil {
		return err
	}
	if r.head, err = decodeHeader(b); err != nil {
		return err
	}
	if want := (ID{store, r.ref.Number}); r.head.id != want {
		return fmt.Errorf("%w: is chunk %x of store %x", ErrCorrupt, r.head.id.Number, r.head.id.Store)
	}
	if r.head.sealed && key != nil {
		r.aead, err = key.aead(r.head)
	}
	return err
}

// Close closes the file.
func (r *Reader) Close() error { return r.f.Close() }

// readAt fills b or fails: an end of file is damage.
func (r *Reader) readAt(b []byte, off int64) error {
	n, err := r.f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: file ends at %d", ErrCorrupt, off+int64(n))
	}
	return err
}

// check refuses extents that cannot lie in this file, before memory is taken.
func (r *Reader) check(e Extent) error {
	if e.Off < headerBytes || e.Len <= 0 || e.Len > MaxExtent || e.Disk != diskBytes(e.Len, r.head.sealed) || e.Off > r.ref.Bytes-footerBytes-e.Disk {
		return fmt.Errorf("%w: %d bytes at %d, in a file of %d", ErrExtent, e.Disk, e.Off, r.ref.Bytes)
	}
	return nil
}

// Span is the bytes on disk of extents that follow each other without a gap.
func Span(extents []Extent) int64 {
	last := extents[len(extents)-1]
	return last.Off + last.Disk - extents[0].Off
}

// Read reads and verifies extents that follow each other without a gap, and
// returns their payloads. They lie in buf, which must be as long as [Span] says.
func (r *Reader) Read(extents []Extent, buf []byte) ([][]byte, error) {
	for i, e := range extents {
		if err := r.check(e); err != nil {
			return nil, fmt.Errorf("read %s: %w", r.ref.Name(), err)
		}
		if i > 0 && extents[i-1].Off+extents[i-1].Disk != e.Off {
			return nil, fmt.Errorf("read %s: %w: a gap before %d", r.ref.Name(), ErrExtent, e.Off)
		}
	}
	buf = buf[:Span(extents)]
	if err := r.readAt(buf, extents[0].Off); err != nil {
		return nil, fmt.Errorf("read %s: %w", r.ref.Name(), err)
	}
	payloads := make([][]byte, len(extents))
	for i, e := range extents {
		p, err := r.payload(e, buf[:e.Disk])
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", r.ref.Name(), err)
		}
		payloads[i], buf = p, buf[e.Disk:]
	}
	return payloads, nil
}

// payload verifies an extent's bytes and decrypts them in place.
func (r *Reader) payload(e Extent, b []byte) ([]byte, error) {
	if err := r.compare(e, r.sumOf(b)); err != nil {
		return nil, err
	}
	if !r.head.sealed {
		return b, nil
	}
	if r.aead == nil {
		return nil, errors.New("chunk is sealed and there is no key")
	}
	return open(r.aead, e, b)
}

func (r *Reader) sumOf(b []byte) uint64 {
	sum := r.head.newSum()
	_, _ = sum.Write(b) // it never fails
	return sum.Sum64()
}

func (r *Reader) compare(e Extent, sum uint64) error {
	if sum != e.Sum {
		return fmt.Errorf("%w: extent at %d has checksum %016x, written with %016x", ErrCorrupt, e.Off, sum, e.Sum)
	}
	return nil
}

// Table reads the table of extents and verifies it against the checksum in
// the chunk's name.
func (r *Reader) Table() ([]Extent, error) {
	foot := make([]byte, footerBytes)
	end := r.ref.Bytes - footerBytes
	if end < headerBytes {
		return nil, fmt.Errorf("%w: %d bytes are no chunk", ErrCorrupt, r.ref.Bytes)
	}
	if err := r.readAt(foot, end); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(foot)
	if [8]byte(foot[16:]) != footMagic || n > maxExtents || int64(n)*entryBytes > end-headerBytes {
		return nil, fmt.Errorf("%w: no footer", ErrCorrupt)
	}
	table := make([]byte, int64(n)*entryBytes+8)
	if err := r.readAt(table, end-int64(n)*entryBytes); err != nil {
		return nil, err
	}
	if sum := tableSum(r.head.encode(), table); sum != r.ref.Sum || binary.LittleEndian.Uint64(foot[8:]) != sum {
		return nil, fmt.Errorf("%w: table has checksum %016x, written with %016x", ErrCorrupt, sum, r.ref.Sum)
	}
	return r.decodeTable(table[:len(table)-8], end-int64(n)*entryBytes)
}

// decodeTable reads the entries, which must fill the file up to end.
func (r *Reader) decodeTable(b []byte, end int64) ([]Extent, error) {
	var extents []Extent
	at := int64(headerBytes)
	for ; len(b) > 0; b = b[entryBytes:] {
		e := Extent{
			Off:  int64(binary.LittleEndian.Uint64(b)),
			Disk: int64(binary.LittleEndian.Uint64(b[8:])),
			Sum:  binary.LittleEndian.Uint64(b[16:]),
		}
		e.Len = payloadBytes(e.Disk, r.head.sealed)
		if e.Off != at || r.check(e) != nil {
			return nil, fmt.Errorf("%w: extent of %d bytes at %d", ErrCorrupt, e.Disk, e.Off)
		}
		at += e.Disk
		extents = append(extents, e)
	}
	if at != end {
		return nil, fmt.Errorf("%w: extents end at %d, the table begins at %d", ErrCorrupt, at, end)
	}
	return extents, nil
}

// Verify reads the whole file and returns its table.
func (r *Reader) Verify() ([]Extent, error) {
	extents, err := r.Table()
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", r.ref.Name(), err)
	}
	buf := make([]byte, diskBytes(MaxExtent, true))
	for _, e := range extents {
		b := buf[:e.Disk]
		if err := r.readAt(b, e.Off); err != nil {
			return nil, fmt.Errorf("verify %s: %w", r.ref.Name(), err)
		}
		if err := r.compare(e, r.sumOf(b)); err != nil {
			return nil, fmt.Errorf("verify %s: %w", r.ref.Name(), err)
		}
	}
	return extents, nil
}
