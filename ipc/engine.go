package ipc

import (
	"context"
	"encoding/json"
	"time"
)

// Engine is what the server needs from the rest of the daemon. All methods may
// be called concurrently, from any goroutine.
//
// Errors that a client should be able to act on are *Error values (wrapped or
// not); every other error is answered as an internal error and only logged.
type Engine interface {
	Tokens

	// Generate answers one request and returns when the answer is complete.
	//
	// It calls emit in order and never concurrently, from any goroutine, and
	// not after it has returned. emit copies what it needs and never blocks;
	// when it returns an error (the client is gone or does not read), Generate
	// stops and returns that error.
	//
	// The first emit must carry Progress, and must happen as soon as the request
	// is known to be acceptable (model found, prompt rendered, tokenized and
	// shorter than the context), before queueing and prefill: until then
	// the server can still answer with a proper HTTP status.
	//
	// When ctx is done, Generate returns within one prefill chunk or decode
	// step, with an error that wraps context.Cause(ctx) or ctx.Err().
	Generate(ctx context.Context, req *Request, emit func(Delta) error) (Result, error)

	// Embed returns a vector for every input. It calls accepted once the inputs are
	// tokenized and known to be acceptable, before it waits for its turn, and ends
	// with ctx as Generate does.
	Embed(ctx context.Context, req *EmbedRequest, accepted func()) (Embeddings, error)

	// Models lists every model that a request may name, the default first.
	// It answers in every State, also while loading.
	Models(ctx context.Context) []ModelInfo

	// Status is cheap: it is asked once per request.
	Status() Status
}

// Tokens is the part of an Engine that turns texts into tokens and back.
type Tokens interface {
	// CountTokens returns the tokens of the prompt that a request with Messages is
	// rendered to.
	CountTokens(ctx context.Context, req *Request) (int, error)

	// Tokenize returns the token ids of a text, with pieces when asked for.
	Tokenize(ctx context.Context, req TokenizeRequest) ([]Token, error)

	// Detokenize returns the text of ids. Bytes that are not UTF-8 become U+FFFD.
	Detokenize(ctx context.Context, model string, ids []int32) (string, error)
}

// State is where the engine is in its life.
type State int

const (
	Loading  State = iota // not yet able to answer
	Ready                 // a real decode has succeeded
	Failed                // will not become ready by itself
	Draining              // finishes what runs, accepts nothing new
)

// String names the state as /readyz and the log print it.
func (s State) String() string {
	switch s {
	case Loading:
		return "loading"
	case Ready:
		return "ready"
	case Failed:
		return "failed"
	case Draining:
		return "draining"
	}
	return "unknown"
}

// Status is the engine's state with a sentence for people, such as
// "loading needle-26m: 40 %" or the reason of a failure.
type Status struct {
	State State
	Text  string
	// Retries says in Failed that the engine tries again for the next request, and for
	// the next proof.
	Retries bool
}

// Request is one validated generation request: exactly one of Messages and
// Prompt is set, and every number is inside the range that docs/API.md gives.
type Request struct {
	ID    string // chatcmpl-… or cmpl-…, also in the response and the log
	Model string // a ModelInfo.ID, never empty
	UID   uint32 // of the peer, as the kernel says
	// Client tells the peer's programs apart, and the users that one of them says it
	// serves: the engine is shared between users equally, and then between these.
	Client string

	// Session is the id of a stored conversation that Messages continue, or "".
	// Whether UID has such a session is for the engine to find out.
	Session string
	// Note is kept with the answer in the session: an object, or nil.
	Note json.RawMessage
	// Recompute allows to compute the session's tokens again when what is stored
	// of them cannot be used by the model.
	Recompute bool

	Messages     []Message       // for the model's chat template
	TemplateVars json.RawMessage // chat_template_kwargs: a JSON object, or nil
	Prompt       *Prompt         // raw prompt, no template

	Grammar *Grammar // what the answer must match; nil = anything
	Tools   *Tools   // that the model may call; nil = none; not together with Grammar

	MaxTokens   int      // most tokens to generate; 0 = until the context is full
	Stop        []string // generation ends before the first of these; not in the output
	Sampling    Sampling
	Logprobs    bool // report Delta.Logprobs
	RawThoughts bool // leave what the model thinks before it answers in Delta.Text
	TopLogprobs int  // alternatives per token, 0..MaxTopLogprobs
	Reach       int  // spans of Result.Reach at most; 0 = not wanted
}

// EmbedRequest asks for the vectors of texts.
type EmbedRequest struct {
	ID         string // embd-…, also in the log
	Model      string // a ModelInfo.ID, never empty
	UID        uint32 // as in Request
	Client     string
	Inputs     []Prompt // at least one, at most 2,048
	Dimensions int      // that are kept of each vector; 0 = all
}

// Embeddings answers an EmbedRequest.
type Embeddings struct {
	Vectors [][]float32 // [inputs], each of length 1
	Tokens  int         // of all inputs
}

// Prompt is text or token ids, never both. Tokens is nil when Text is meant,
// which may be empty.
type Prompt struct {
	Text   string // tokenized with the model's default special tokens (BOS), none parsed
	Tokens []int32
}

// Message is one turn of a conversation.
type Message struct {
	Role       string // system, user, assistant or tool; developer arrives as system
	Name       string
	Content    string          // text parts are joined with a newline
	Reasoning  string          // reasoning_content of an assistant turn
	ToolCalls  json.RawMessage // assistant: a JSON array as sent, or nil
	ToolCallID string          // tool: the call that this answers
	Note       json.RawMessage // assistant, of a stored one: Request.Note
}

// Sampling holds the sampling parameters that the request set. A nil pointer
// means the model's or the configuration's default.
type Sampling struct {
	Temperature      *float64 // 0..2; 0 = greedy
	TopP             *float64 // (0,1]
	TopK             *int     // 0 = off
	MinP             *float64 // 0..1
	TypicalP         *float64 // (0,1]
	RepeatPenalty    *float64 // (0,10]; 1 = off
	RepeatLastN      *int     // tokens that RepeatPenalty looks back on; 0 = off, -1 = all
	PresencePenalty  *float64 // -2..2
	FrequencyPenalty *float64 // -2..2
	Seed             *int64
	LogitBias        map[int32]float64 // token id to bias, -100..100
}

// Delta is one piece of an answer: text, progress of the prefill, or both.
type Delta struct {
	Thought  string         // before Text, in which it is not: what the model has thought first
	Text     string         // valid UTF-8; may be empty while a code point is incomplete
	Logprobs []TokenLogprob // tokens behind Text, when the request asked for them
	Calls    []CallDelta    // of tools, after Text
	Progress *Progress
}

// Progress counts prompt tokens. Done includes Cached and never exceeds Total.
type Progress struct {
	Done, Total, Cached int
}

// TokenLogprob is a sampled token with its natural log probability.
type TokenLogprob struct {
	ID      int32
	Bytes   []byte // the token's piece; may be part of a code point
	Logprob float64
	Top     []TokenLogprob // most likely first; their Top is nil
}

// FinishReason says why generation ended.
type FinishReason string

const (
	FinishStop   FinishReason = "stop"       // end-of-turn token or stop string
	FinishLength FinishReason = "length"     // MaxTokens or the end of the context
	FinishCalls  FinishReason = "tool_calls" // as FinishStop, and tools were called
)

func (f FinishReason) known() bool {
	return f == FinishStop || f == FinishLength || f == FinishCalls
}

// Result closes a successful generation.
type Result struct {
	FinishReason FinishReason
	StopSequence string // of Request.Stop, the one that ended the answer; "" if none did

	PromptTokens     int // all tokens of the prompt
	CachedTokens     int // of these, taken from the cache
	RestoredTokens   int // of these, read from where sessions are stored
	CompletionTokens int // generated, the end-of-turn token included
	ThoughtTokens    int // of these, those of the model's thought

	RestoreTime time.Duration // until RestoredTokens were there
	PromptTime  time.Duration // prefill of PromptTokens-CachedTokens
	PredictTime time.Duration // decode of CompletionTokens

	Session *SessionResult // of the session that the request named, otherwise nil
	Reach   *Reach         // nil when it was not wanted, or is not known
}

// Reach says which tokens the last step of an answer attended to.
type Reach struct {
	Tokens int // of the prompt and the answer
	Layers int // of the model
	Sparse int // of them, those that attend to chosen tokens
	// Share is, for equal spans of the tokens, the part that a head of a sparse
	// layer attended to in the mean, 0 to 1; nil without sparse layers.
	Share []float32
}

// ModelInfo describes a model that requests may name.
type ModelInfo struct {
	ID      string
	Created time.Time // modification time of the file
	OwnedBy string
	Loaded  bool // resident now

	ContextTokens      int   // longest prompt plus answer that is served, 0 = not known yet
	TrainContextTokens int   // from the model's metadata, 0 = not known yet
	Params             int64 // number of weights, 0 = not known yet
	Bytes              int64 // size of the model's files
	VocabSize          int
}

// TokenizeRequest asks for the tokens of Content.
type TokenizeRequest struct {
	Model        string // a ModelInfo.ID, never empty
	Content      string
	AddSpecial   bool // add BOS (and EOS) as the model wants them
	ParseSpecial bool // recognise control tokens that are spelled out in Content
}

// Token is a token id and the bytes that it stands for.
type Token struct {
	ID    int32
	Piece []byte // may be part of a code point
}

// MaxTopLogprobs is the most alternatives per token that a request may ask for.
const MaxTopLogprobs = 20
