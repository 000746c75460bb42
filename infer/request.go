package infer

import (
	"encoding/json"
	"time"

	"edged/infer/chat"
	"edged/infer/sample"
	"edged/offload"
)

// Request is one generation. Exactly one of Messages and Prompt is set.
type Request struct {
	ID    string // for the log
	Model string // "" is Config.Default

	Messages []chat.Message // rendered with the model's own template
	Tools    *Tools         // that the model may call; nil: none
	Vars     map[string]any // further template variables
	Prompt   *Prompt        // no template

	// Owner is the user who asks. What the cache has read for one user, it does not
	// use for another: the time that an answer takes must not tell what others read.
	Owner uint32
	// Client is the program, of those that Owner runs, that asks. Owners share the
	// engine equally, and so do the clients of an owner.
	Client string
	// Session is the conversation that the request goes on with, nil without one;
	// Messages are all of it. It needs a Keeper.
	Session *Session
	Keeper  Keeper // asked for what the cache does not have; may be nil

	// Grammar is what the whole answer must match, nil for anything. At a limit
	// of tokens the answer ends with a shortest completion.
	Grammar *Grammar

	MaxTokens   int      // most tokens to generate; 0 = until the context is full
	Stop        []string // text ends before the first of these
	Sampling    sample.Params
	RawThoughts bool // leave the model's thought in Delta.Text
	Logprobs    bool // report the log probability of every token
	TopLogprobs int  // and of this many alternatives, 0..20; needs Logprobs

	// Reach is the spans, at most, in which Result.Reach says what the end of the
	// answer attended to; 0 = not wanted.
	Reach int
}

// Grammar says what an answer must match. Exactly one of GBNF, Schema,
// AnyObject and Calls is set.
type Grammar struct {
	Field     string          // of the request, for errors
	GBNF      string          // a grammar whose rule is root
	Schema    json.RawMessage // a JSON schema
	AnyObject bool            // any JSON object
	Calls     *Calls          // calls of functions and nothing else
}

// Prompt is text or token ids, never both. Tokens is nil when Text is meant,
// which may be empty.
type Prompt struct {
	Text string
	// ParseSpecial recognises control tokens that are spelled out in Text.
	ParseSpecial bool
	// NoBOS leaves out the BOS that the tokenizer adds to Text by default.
	NoBOS  bool
	Tokens []int32 // used as they are
}

// Delta is one piece of an answer. Its slices are reused: they are valid
// during the call of emit only.
type Delta struct {
	Thought  []byte // before Text: what the model has thought before it answers
	Text     []byte // valid UTF-8: bytes of the model that are not become U+FFFD
	Logprobs []TokenLogprob
	Calls    []CallDelta // after Text
	Progress *Progress   // nil when nothing changed since the last Delta
}

// Progress counts prompt tokens. Done includes Cached and never exceeds Total.
type Progress struct {
	Done, Total, Cached int
}

// TokenLogprob is a token with its natural log probability.
type TokenLogprob struct {
	ID      int32
	Bytes   []byte // may be part of a UTF-8 sequence
	Logprob float32
	Top     []TokenLogprob // most probable first; their Top is nil
}

// Finish says why a generation ended.
type Finish string

const (
	FinishStop   Finish = "stop"       // end-of-generation token or stop string
	FinishLength Finish = "length"     // MaxTokens, or the end of the context
	FinishCalls  Finish = "tool_calls" // as FinishStop, and tools were called
)

// Usage counts tokens.
type Usage struct {
	Prompt int // all tokens of the prompt
	// Cached is of these, those not evaluated because their K and V were kept. Of a prompt
	// that some layers had read, it is that share of all tokens.
	Cached     int
	Restored   int // of these, those that a Keeper had
	Completion int // generated, an end-of-generation token included
	Thought    int // of these, those of the model's thought
}

// Timings are wall-clock times of one request.
type Timings struct {
	Queue   time.Duration // from acceptance to the first step, Restore aside
	Restore time.Duration // from asking a Keeper until its sequence was there
	Prefill time.Duration // from then to the first token
	Decode  time.Duration // from the first token to the last
}

// Result closes a successful generation.
type Result struct {
	Model   string
	Finish  Finish
	Stop    string // the stop string that ended the text, "" if none did
	Usage   Usage
	Timings Timings
	Seed    uint64 // that the sampler used

	// Reach is of the answer's last step; nil when it was not wanted, and when the
	// answer took no step after its prompt.
	Reach *offload.Reach

	// Recomputed is why the Keeper's tokens were evaluated again, nil when they
	// were not.
	Recomputed error
	// Unsaved is why the session's Keeper does not have this answer; nil when it
	// does, or when there is no session.
	Unsaved error
}

// Token is a token id and the bytes that it stands for.
type Token struct {
	ID    int32
	Piece []byte
}
