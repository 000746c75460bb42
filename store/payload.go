package store

import (
	"errors"
	"fmt"
	"iter"
	"math"
)

// Limits of one payload.
const (
	maxParts     = 1 << 12
	maxPartID    = math.MaxUint16
	maxPayload   = 1 << 40 // bytes; sums of a session's stay far below an int64
	maxTurnBlock = 1 << 16 // blocks of one turn: 16 M tokens
)

// Data gives a payload's bytes piece by piece. A piece is used before the next
// is asked for, and never kept.
type Data = iter.Seq2[[]byte, error]

// Part is one region of a payload, such as a layer's.
type Part struct {
	ID   int   // the engine's number, 0 to 65535
	Size int64 // bytes that Data gives, at least 1
	// Data is asked for at most once, and not at all when a shared block has it.
	Data Data
}

// Bytes is Data of one piece.
func Bytes(b []byte) Data {
	return func(yield func([]byte, error) bool) { yield(b, nil) }
}

// Payload is parts with ascending numbers.
type Payload []Part

// size is the payload's bytes.
func (p Payload) size() int64 {
	var n int64
	for _, part := range p {
		n += part.Size
	}
	return n
}

func (p Payload) check() error {
	if len(p) == 0 || len(p) > maxParts {
		return fmt.Errorf("%w: payload of %d parts, 1 to %d are allowed", ErrInvalid, len(p), maxParts)
	}
	last, total := -1, int64(0)
	for _, part := range p {
		if part.ID <= last || part.ID > maxPartID {
			return fmt.Errorf("%w: part %d after part %d, numbers ascend to at most %d", ErrInvalid, part.ID, last, maxPartID)
		}
		if part.Size < 1 || part.Size > maxPayload-total {
			return fmt.Errorf("%w: part %d of %d bytes, payloads have 1 to %d", ErrInvalid, part.ID, part.Size, int64(maxPayload))
		}
		if part.Data == nil {
			return fmt.Errorf("%w: part %d has no data", ErrInvalid, part.ID)
		}
		last, total = part.ID, total+part.Size
	}
	return nil
}

// Block is the payload of the next BlockTok tokens.
type Block struct {
	Provenance Provenance
	Parts      Payload
}

func (b Block) check() error {
	if b.Provenance != ExactPrefill && b.Provenance != Decoded {
		return fmt.Errorf("%w: provenance %d", ErrInvalid, b.Provenance)
	}
	return b.Parts.check()
}

// errSize is wrapped when Data does not give Size bytes.
var errSize = errors.New("data is not as long as was declared")
