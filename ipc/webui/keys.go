package webui

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"sync"
)

// errUsed means that the token of the link was exchanged before.
var errUsed = errors.New("this link was used before")

// errToken means that a token was never given out.
var errToken = errors.New("this link is not of the page that runs now")

// keys hold the secrets of one page: a token that is good once, and the key that
// it is exchanged for.
type keys struct {
	token, key string

	mu   sync.Mutex
	used bool
}

// newKeys makes secrets of 128 random bits.
func newKeys() *keys { return &keys{token: rand.Text(), key: rand.Text()} }

// exchange gives the key for the token.
func (k *keys) exchange(token string) (string, error) {
	if !equal(token, k.token) {
		return "", errToken
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.used {
		return "", errUsed
	}
	k.used = true
	return k.key, nil
}

// opens says whether a key is the right one.
func (k *keys) opens(key string) bool { return equal(key, k.key) }

// equal takes the same time wherever two secrets differ.
func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
