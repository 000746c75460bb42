package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"

	"edged/store/chunk"
)

// KeyBytes is the length of a store's key.
const KeyBytes = 32

// sealer encrypts what lies in the database and knows the keys of everything
// else. A nil sealer is a store without a key.
type sealer struct {
	chunkKey chunk.Key
	chain    []byte // makes chain hashes useless without the key
	check    []byte // proves the key
	aead     cipher.AEAD
}

func newSealer(key []byte) (*sealer, error) {
	if key == nil {
		return nil, nil
	}
	if len(key) != KeyBytes {
		return nil, fmt.Errorf("%w: %d bytes, a key has %d", ErrKey, len(key), KeyBytes)
	}
	derive := func(purpose string) []byte {
		b, err := hkdf.Key(sha256.New, key, nil, "edged store 1 "+purpose, KeyBytes)
		if err != nil {
			panic(err) // only for lengths beyond 8160 bytes
		}
		return b
	}
	block, err := aes.NewCipher(derive("database"))
	if err != nil {
		return nil, err
	}
	a, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &sealer{chunkKey: chunk.Key(derive("chunks")), chain: derive("chain"), check: derive("check"), aead: a}, nil
}

// chunkSecret is the key of chunk files, or nil.
func (s *sealer) chunkSecret() *chunk.Key {
	if s == nil {
		return nil
	}
	return &s.chunkKey
}

// chainSecret goes into the seeds of chains.
func (s *sealer) chainSecret() []byte {
	if s == nil {
		return nil
	}
	return s.chain
}

// proves says whether a stored check value is of this key.
func (s *sealer) proves(check []byte) bool { return s != nil && hmac.Equal(s.check, check) }

// seal encrypts a column's value. where names the row and column, so that a
// value cannot be moved to another place.
func (s *sealer) seal(where string, plain []byte) []byte {
	if s == nil {
		if plain == nil {
			return []byte{} // columns are NOT NULL
		}
		return plain
	}
	return s.aead.Seal(nil, nil, plain, []byte(where))
}

func (s *sealer) open(where string, sealed []byte) ([]byte, error) {
	if s == nil {
		return sealed, nil
	}
	plain, err := s.aead.Open(nil, nil, sealed, []byte(where))
	if err != nil {
		return nil, fmt.Errorf("%w: %s does not open with the store's key", ErrCorrupt, where)
	}
	return plain, nil
}

// column names a sealed value: session and message are numbers that are never
// given to another row while the value exists.
func column(session, name string, idx int) string { return fmt.Sprintf("%s/%s/%d", session, name, idx) }
