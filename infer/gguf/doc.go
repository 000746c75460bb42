// Package gguf reads GGUF model files, versions 2 and 3, little-endian,
// single or split (NAME-00001-of-00003.gguf), without copying tensor data.
//
// Open maps every part read-only and checks the whole header before it
// returns: counts and lengths against the bytes that are there, dimensions
// against overflow and block sizes, tensor extents against the file and each
// other. A File that Open returned therefore never slices out of range.
// Nothing is allocated in proportion to a count that the file merely claims.
//
// Ownership. Tensor.Data lies in the mapping and is valid until Close; writing
// to it faults. Metadata accessors return copies that outlive the File (an
// array of strings is one bulk copy that its elements share).
//
// Goroutines. All methods except Close may be called concurrently. Close must
// come after the last use of the File and of every Tensor.Data.
//
// Failure modes. A malformed file gives a *FormatError with the byte offset
// and the reason. A file that shrinks or fails to read (network file system,
// dying disk) while it is mapped raises SIGBUS on the next access to the lost
// pages, which ends the process: replace model files by rename, never in place.
// A file that is rewritten in place may change tensor values under the reader,
// but cannot make the package read out of range.
package gguf
