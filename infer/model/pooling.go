package model

import (
	"fmt"

	"edged/infer/gguf"
)

// Pooling is how the hidden states of a text become its one vector. The values
// are those of a file's key ARCH.pooling_type.
type Pooling uint64

const (
	PoolNone Pooling = iota // a vector for each token, and none for the text
	PoolMean                // of all states
	PoolCLS                 // the first state
	PoolLast                // the last state
	PoolRank                // a score, not a vector
)

func (p Pooling) String() string {
	switch p {
	case PoolNone:
		return "none"
	case PoolMean:
		return "mean"
	case PoolCLS:
		return "cls"
	case PoolLast:
		return "last"
	case PoolRank:
		return "rank"
	}
	return fmt.Sprintf("unknown (%d)", uint64(p))
}

// PoolingOf is the pooling that a file asks for. One that says nothing was made
// to continue text: there the mean is the default, because the last state is about
// the token to come more than about the text.
func PoolingOf(f *gguf.File) (Pooling, error) {
	arch, _ := f.String("general.architecture")
	key := arch + ".pooling_type"
	if _, set := f.Value(key); !set {
		return PoolMean, nil
	}
	v, ok := f.Uint(key)
	if !ok {
		return PoolNone, fmt.Errorf("key %s is no unsigned integer", key)
	}
	return Pooling(v), nil
}
