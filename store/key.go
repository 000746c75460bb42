package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// BlockTok is the tokens of one block.
const BlockTok = 256

// Limits of what identifies a payload; all of it stands in every session's row.
const (
	maxFingerprint = 1 << 10
	maxName        = 1 << 10 // bytes of a model, policy, calibration, title, role or tag
)

// Key says what made a payload, and so what can read it. Equal tokens under
// equal keys have equal exact prefills.
type Key struct {
	Fingerprint []byte // model hash, KV layout, quantization, ABI: the engine's
	Policy      string // of the KV cache
	Calibration string // that the policy used, or empty
}

// Equal says whether payloads under one key can be read under the other.
func (k Key) Equal(o Key) bool { return len(k.differing(o)) == 0 }

// differing names the fields that are not equal.
func (k Key) differing(o Key) []string {
	var fields []string
	if !bytes.Equal(k.Fingerprint, o.Fingerprint) {
		fields = append(fields, "fingerprint")
	}
	if k.Policy != o.Policy {
		fields = append(fields, "policy")
	}
	if k.Calibration != o.Calibration {
		fields = append(fields, "calibration")
	}
	return fields
}

// none says that nothing can be stored or read under the key.
func (k Key) none() bool { return len(k.Fingerprint) == 0 }

func (k Key) check() error {
	if k.none() || len(k.Fingerprint) > maxFingerprint {
		return fmt.Errorf("%w: fingerprint of %d bytes, 1 to %d are allowed", ErrInvalid, len(k.Fingerprint), maxFingerprint)
	}
	if n := max(len(k.Policy), len(k.Calibration)); n > maxName {
		return fmt.Errorf("%w: policy or calibration of %d bytes, at most %d are allowed", ErrInvalid, n, maxName)
	}
	return nil
}

// Provenance is how a block's K and V were computed.
type Provenance int

// Decoded K and V depend on how the tokens came to be; exact prefill depends on
// the tokens alone.
const (
	ExactPrefill Provenance = iota
	Decoded
)

// link is one hash of the chain: it stands for a fingerprint and all tokens up
// to the end of a block.
type link [sha256.Size]byte

// seed is the chain's link before the first block. secret is the store's, or
// empty: with it, hashes tell nothing to who does not have the store's key.
func seed(secret, fingerprint []byte) link {
	h := sha256.New()
	h.Write([]byte("edged chain 1\x00"))
	h.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(secret))))
	h.Write(secret)
	h.Write(fingerprint)
	return link(h.Sum(nil))
}

// next is the link after a block of BlockTok tokens.
func (l link) next(tokens []int32) link {
	b := make([]byte, 0, len(l)+4*BlockTok)
	b = append(b, l[:]...)
	for _, t := range tokens {
		b = binary.LittleEndian.AppendUint32(b, uint32(t))
	}
	return sha256.Sum256(b)
}

// chain is the links of all whole blocks of tokens that follow l.
func (l link) chain(tokens []int32) []link {
	var links []link
	for ; len(tokens) >= BlockTok; tokens = tokens[BlockTok:] {
		l = l.next(tokens[:BlockTok])
		links = append(links, l)
	}
	return links
}
