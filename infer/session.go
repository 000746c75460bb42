package infer

import (
	"context"
	"iter"

	"edged/offload"
)

// Session is the conversation that a request goes on with. Its ID is what the
// sequence of the last turn is found by: K and V of generated tokens depend on
// how these came to be, and one session never goes on with another's.
type Session struct {
	ID string
	// Tokens are the session's so far, as its sequence had them. What the request's
	// messages say again is taken from here.
	Tokens []int32
	Blocks int // of [offload.BlockTok] tokens that the Keeper has, from the first
}

// Keeper keeps sequences where they outlive the engine. It serves one request,
// from goroutines of the engine's and from that of Generate's caller.
type Keeper interface {
	// Open finds what is kept of the begin of a sequence, nil when that is nothing.
	// An error ends the request.
	Open(ctx context.Context, key Key, tokens []int32) (Snapshot, error)
	// Save keeps the sequence of an answered request. It is not called for
	// requests without a session. s is valid during the call.
	Save(ctx context.Context, key Key, s *Saved) error
	// Stage keeps how far the first prompt of a session has been read, for Open of
	// a later request. Save may be called before it returns. s is valid during the
	// call.
	Stage(ctx context.Context, key Key, s *Staged) error
}

// Key says what made K and V, and so what can read them.
type Key struct {
	Fingerprint []byte // of the model's file and the cache's format
	Policy      string // that the cache was configured with
}

// Snapshot is an open snapshot of a sequence.
type Snapshot interface {
	Shape() Shape
	// Read gives the payload of blocks from a number on, in order, then of the tail.
	// A piece is valid until the next one is asked for.
	Read(ctx context.Context, from int) iter.Seq2[Piece, error]
	Close() error
}

// Shape says what a snapshot has.
type Shape struct {
	Blocks int  // whole blocks, from the first token on
	Exact  int  // of these, the first ones that are exact prefill
	Tail   bool // whether what follows them, or what was staged, is there
}

// TailBlock is the number of the tail among blocks.
const TailBlock = -1

// Piece is some bytes of a snapshot; its parts are those of [offload.Part].
type Piece struct {
	Block, Part int
	Off         int64 // in the part
	Data        []byte
}

// Saved is the sequence of an answered request.
type Saved struct {
	Tokens []int32 // of the request and its answer; a snapshot may lack the last one
	Prompt int     // tokens of the request
	Same   int     // tokens at the begin that are those of Session.Tokens
	Exact  int     // blocks from the first on that are exact prefill
	// Recomputed is why none of the Keeper's blocks is in the sequence though it has
	// some, else nil.
	Recomputed error

	hold *offload.Hold
}

// Tail is the payload behind the whole blocks.
func (s *Saved) Tail() []offload.Part { return s.hold.Tail() }

// Blocks is the number of whole blocks.
func (s *Saved) Blocks() int { return s.hold.Blocks() }

// Block is the payload of a block, in place.
func (s *Saved) Block(i int) []offload.Part { return s.hold.Block(i) }
