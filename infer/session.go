package infer

import (
	"context"

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
	Cache       string // what the policy came to, which Fingerprint covers, in words
}

// Snapshot is an open snapshot of a sequence.
type Snapshot interface {
	Shape() Shape
	// Fill reads the payload of blocks from a number on, and then of the tail, to
	// where place says: pieces that are as long as the span together, or nil for
	// what is not wanted. place is called for one span after the other, in order, by
	// Fill's caller's goroutine. Memory is right when Fill has returned nil, and holds
	// anything after an error; functions get bytes that are right, from several
	// goroutines at once.
	Fill(ctx context.Context, from int, place func(Span) ([]offload.Target, error)) error
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

// Span is some bytes of a snapshot; its parts are those of [offload.Part].
type Span struct {
	Block, Part int
	Off         int64 // in the part
	Size        int64
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
