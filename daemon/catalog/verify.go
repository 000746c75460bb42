package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"regexp"
)

var sha256Form = regexp.MustCompile(`^[0-9a-f]{64}$`)

// checkSHA256 accepts the lower-case hex form of a SHA-256.
func checkSHA256(s string) error {
	if !sha256Form.MatchString(s) {
		return fmt.Errorf("a SHA-256 is 64 hexadecimal digits, got %q", s)
	}
	return nil
}

// headerBytes of a GGUF hold its magic and version.
const headerBytes = 8

// checkHeader refuses what cannot be a GGUF that this program reads. The
// loader checks the rest of the file.
func checkHeader(r io.Reader) error {
	var head [headerBytes]byte
	if n, err := io.ReadFull(r, head[:]); err != nil {
		return fmt.Errorf("not a GGUF file: it ends after %d bytes", n)
	}
	if string(head[:4]) != "GGUF" {
		return fmt.Errorf("not a GGUF file: it starts with %q", head[:4])
	}
	if v := binary.LittleEndian.Uint32(head[4:]); v != 2 && v != 3 {
		return fmt.Errorf("GGUF version %d is not supported, versions 2 and 3 are", v)
	}
	return nil
}

// hashOf returns the SHA-256 of r in hex.
func hashOf(ctx context.Context, r io.Reader) (string, error) {
	h := sha256.New()
	if _, err := copyChunks(ctx, h, r, func(int64) {}); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

const copyChunk = 256 << 10 // bytes

// copyChunks copies src to dst, until ctx ends, and reports the running count.
func copyChunks(ctx context.Context, dst io.Writer, src io.Reader, report func(copied int64)) (copied int64, err error) {
	buf := make([]byte, copyChunk)
	for {
		if err := context.Cause(ctx); err != nil {
			return copied, err
		}
		n, readErr := src.Read(buf)
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				return copied, err
			}
			copied += int64(n)
			report(copied)
		}
		if readErr == io.EOF {
			return copied, nil
		}
		if readErr != nil {
			return copied, readErr
		}
	}
}
