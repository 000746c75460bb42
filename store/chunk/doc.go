// Package chunk reads and writes chunk files, in which the store keeps
// payloads: cached keys and values, windows, statistics.
//
// A file is written once and never changed. It holds a header, extents back to
// back, and a table of the extents with their checksums:
//
//	header    64 bytes   magic, version, sealed or not, store, chunk, salt
//	extents              each at most MaxExtent bytes before sealing
//	table     24 n bytes offset, bytes on disk, xxhash64 of the bytes on disk
//	footer    24 bytes   n, xxhash64 of header, table and n, magic
//
// The checksum in the footer covers those of the extents, and so the whole
// file. It is part of the file's name, and the caller keeps it with the
// chunk's number: a file that is another chunk, or one of another store, is
// found out, whatever its name. All integers are little-endian.
//
// With a [Key], extents are sealed in segments of SegmentBytes with AES-256-GCM.
// Each chunk has a key of its own, derived from the salt, the store and the
// chunk's number; a segment's nonce is the extent's offset, the segment's number
// and whether it is the last. Checksums are of what lies on disk, so that a
// file can be checked without the key.
//
// # Ownership
//
// A Writer owns its temporary file until Finish or Abort; a Reader its open
// file until Close. Buffers are the caller's.
//
// # Goroutine-safety
//
// A Writer is for one goroutine. A Reader may be used by many.
//
// # Failure modes
//
// [ErrCorrupt] is wrapped whenever what was read is not what was written. No
// byte of a corrupt extent is to be used. Finish makes the file's bytes durable
// but not its name: the caller syncs [Dir], once for many chunks.
package chunk

import "errors"

// ErrCorrupt is wrapped when a file is not what was written.
var ErrCorrupt = errors.New("chunk file is damaged")

// ErrExtent is wrapped when the caller asks for an extent that cannot be.
var ErrExtent = errors.New("extent is out of range")
