package chunk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/zeebo/xxh3"

	"edged/store/disk"
)

// Sizes of the format.
const (
	// MaxBytes is the most that a file may hold. Larger files make fewer of
	// them, smaller ones lose less to a bad block and are rewritten sooner.
	MaxBytes = 16 << 20
	// MaxExtent bounds the memory of a reader: it verifies an extent as a whole
	// before it hands out any of it.
	MaxExtent = 4 << 20
	// SegmentBytes is what is sealed at once.
	SegmentBytes = 128 << 10

	headerBytes = 64
	entryBytes  = 24
	footerBytes = 24
	tagBytes    = 16 // of each sealed segment
	// maxExtents keeps the table small beside a full chunk.
	maxExtents = 1 << 15
)

// Versions differ in the checksum of extents. What is written is the newest.
const (
	versionXXH64 = 1
	versionXXH3  = 2
)

const flagSealed = 1

var (
	headMagic = [8]byte{'e', 'd', 'g', 'e', 'd', 'c', 'h', 'k'}
	footMagic = [8]byte{'e', 'd', 'g', 'e', 'd', 'e', 'n', 'd'}
)

// Dir is the folder of chunk files.
const Dir = "chunks"

// tmpSuffix marks a file that was not finished.
const tmpSuffix = ".tmp"

// ID says which chunk a file is.
type ID struct {
	Store  [16]byte
	Number uint64
}

// Ref names a finished chunk: what must be known to find and verify it.
type Ref struct {
	Number uint64
	Sum    uint64 // xxhash64 in the footer
	Bytes  int64  // of the whole file
}

// Finished is a chunk that was written.
type Finished struct {
	Ref
	Used int64 // bytes on disk of its extents
}

// Name is the file's name below the store's folder.
func (r Ref) Name() string { return fmt.Sprintf("%s/%016x-%016x", Dir, r.Number, r.Sum) }

// ParseName reads the name of a finished chunk's file, without its folder.
func ParseName(name string) (number, sum uint64, ok bool) {
	a, b, found := strings.Cut(name, "-")
	if !found || len(a) != 16 || len(b) != 16 {
		return 0, 0, false
	}
	number, errA := strconv.ParseUint(a, 16, 64)
	sum, errB := strconv.ParseUint(b, 16, 64)
	return number, sum, errA == nil && errB == nil
}

// tmpName is the name of a chunk that is being written.
func tmpName(number uint64) string { return fmt.Sprintf("%s/%016x%s", Dir, number, tmpSuffix) }

// ParseTmpName reads the name of an unfinished chunk's file, without its folder.
func ParseTmpName(name string) (number uint64, ok bool) {
	digits, found := strings.CutSuffix(name, tmpSuffix)
	if !found || len(digits) != 16 {
		return 0, false
	}
	number, err := strconv.ParseUint(digits, 16, 64)
	return number, err == nil
}

// Extent is where a run of payload bytes lies in a chunk.
type Extent struct {
	Off  int64  // in the file
	Len  int64  // of the payload
	Disk int64  // bytes in the file
	Sum  uint64 // XXH3 of the bytes in the file; xxhash64 in format 1
}

// header is the first part of a file.
type header struct {
	version uint16
	id      ID
	sealed  bool
	salt    [16]byte
}

func (h header) encode() []byte {
	b := make([]byte, headerBytes)
	copy(b, headMagic[:])
	binary.LittleEndian.PutUint16(b[8:], h.version)
	if h.sealed {
		binary.LittleEndian.PutUint16(b[10:], flagSealed)
	}
	copy(b[16:], h.id.Store[:])
	binary.LittleEndian.PutUint64(b[32:], h.id.Number)
	copy(b[40:], h.salt[:])
	return b
}

func decodeHeader(b []byte) (header, error) {
	var h header
	if [8]byte(b) != headMagic {
		return h, fmt.Errorf("%w: not a chunk file", ErrCorrupt)
	}
	if h.version = binary.LittleEndian.Uint16(b[8:]); h.version < versionXXH64 || h.version > versionXXH3 {
		return h, fmt.Errorf("%w: chunk format %d, this program reads %d to %d", ErrCorrupt, h.version, versionXXH64, versionXXH3)
	}
	h.sealed = binary.LittleEndian.Uint16(b[10:])&flagSealed != 0
	copy(h.id.Store[:], b[16:])
	h.id.Number = binary.LittleEndian.Uint64(b[32:])
	copy(h.salt[:], b[40:])
	if string(h.encode()) != string(b) {
		return h, fmt.Errorf("%w: unknown bits in the header", ErrCorrupt)
	}
	return h, nil
}

// StoreOf reads from a file's header which store it is of. The header is never sealed. ok
// is false for what does not begin like a chunk; format and checksums may be any.
func StoreOf(fs disk.FS, name string) (store [16]byte, ok bool, err error) {
	f, err := fs.Open(name)
	if err != nil {
		return store, false, err
	}
	b := make([]byte, 16+len(store))
	n, err := f.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return store, false, fmt.Errorf("read the header of %s: %w", name, err)
	}
	copy(store[:], b[16:])
	return store, n == len(b) && [8]byte(b) == headMagic, nil
}

// extentSum is a checksum of an extent on its way.
type extentSum interface {
	Write(b []byte) (int, error)
	Sum64() uint64
	Reset()
}

// newSum is the checksum of the file's extents.
func (h header) newSum() extentSum {
	if h.version == versionXXH64 {
		return xxhash.New()
	}
	return xxh3.New()
}

// encodeTable is the last part of a file, and its checksum.
func encodeTable(head []byte, extents []Extent) (b []byte, sum uint64) {
	b = make([]byte, 0, len(extents)*entryBytes+footerBytes)
	for _, e := range extents {
		b = binary.LittleEndian.AppendUint64(b, uint64(e.Off))
		b = binary.LittleEndian.AppendUint64(b, uint64(e.Disk))
		b = binary.LittleEndian.AppendUint64(b, e.Sum)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(len(extents)))
	sum = tableSum(head, b)
	b = binary.LittleEndian.AppendUint64(b, sum)
	return append(b, footMagic[:]...), sum
}

func tableSum(head, table []byte) uint64 {
	d := xxhash.New()
	d.Write(head)
	d.Write(table)
	return d.Sum64()
}

// diskBytes is what n bytes of payload take in a file.
func diskBytes(n int64, sealed bool) int64 {
	if !sealed {
		return n
	}
	return n + (n+SegmentBytes-1)/SegmentBytes*tagBytes
}

// payloadBytes is the inverse of diskBytes, for sizes that it can give.
func payloadBytes(n int64, sealed bool) int64 {
	if !sealed {
		return n
	}
	const segment = SegmentBytes + tagBytes
	return n - (n+segment-1)/segment*tagBytes
}
