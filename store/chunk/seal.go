package chunk

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Key is the secret from which every chunk's own key is derived.
type Key [32]byte

// aead is the cipher of one chunk. No two chunks share a key, because the salt
// is random and the number is never used twice.
func (k *Key) aead(h header) (cipher.AEAD, error) {
	const info = "edged chunk 1"
	secret, err := hkdf.Key(sha256.New, k[:], h.salt[:], info+string(h.encode()), 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// nonce is different for every segment of a chunk: offsets of extents are.
func nonce(off int64, segment int, last bool) []byte {
	b := make([]byte, 0, 12)
	b = binary.LittleEndian.AppendUint64(b, uint64(off))
	n := uint32(segment) << 1
	if last {
		n |= 1
	}
	return binary.LittleEndian.AppendUint32(b, n)
}

// open decrypts an extent in place and returns its payload.
func open(a cipher.AEAD, e Extent, disk []byte) ([]byte, error) {
	const segment = SegmentBytes + tagBytes
	out := disk[:0]
	for i := 0; len(disk) > 0; i++ {
		n := min(len(disk), segment)
		part, err := a.Open(disk[:0], nonce(e.Off, i, n == len(disk)), disk[:n], nil)
		if err != nil {
			return nil, fmt.Errorf("%w: segment %d of the extent at %d does not open", ErrCorrupt, i, e.Off)
		}
		out = append(out, part...)
		disk = disk[n:]
	}
	return out, nil
}
