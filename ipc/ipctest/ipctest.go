// Package ipctest provides a scripted engine and a server for it, for tests of
// programs that talk to the daemon.
//
// The engine's tokens are bytes when it counts or tokenizes a prompt, and the
// pieces of its script when it answers, so that every number in a
// response can be told in advance. It is safe for concurrent use and owns nothing
// but memory.
package ipctest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"edged/ipc"
)

const (
	// Endless in a prompt makes the engine answer until it is stopped.
	Endless = "endless"
	// Arguments are those of every call of a tool.
	Arguments = `{"city": "Rome"}`
	// Pondering in a prompt makes the engine think first.
	Pondering = "ponder"
	// Failing in a prompt makes the engine fail after the first piece.
	Failing = "fail"
)

// FirstPieceID is the token id of the first piece of a script; the others follow.
const FirstPieceID = 1000

// Engine is an ipc.Engine that answers every request with its script.
type Engine struct {
	Thought []string        // pieces of a thought before the answer, one token each
	Script  []string        // pieces of the answer, one token each
	Context int             // tokens
	Pause   time.Duration   // before each piece
	List    []ipc.ModelInfo // models, the default first

	// Store, if not nil, gets the turns of requests that name a session.
	Store *Sessions

	// GenerateFunc, if not nil, replaces the script.
	GenerateFunc func(ctx context.Context, req *ipc.Request, emit func(ipc.Delta) error) (ipc.Result, error)

	cancelled chan struct{}

	mu       sync.Mutex // guards everything that follows
	status   ipc.Status
	requests []*ipc.Request
	embeds   []*ipc.EmbedRequest
}

// New returns an engine that is ready, with the model "scripted" and a context
// of 4,096 tokens.
func New() *Engine {
	const ctx = 4096
	return &Engine{
		Script:  []string{"The", " answer", " is", " 42", "."},
		Context: ctx,
		List: []ipc.ModelInfo{{
			ID: "scripted", Created: time.Unix(1_700_000_000, 0), OwnedBy: "edged", Loaded: true,
			ContextTokens: ctx, TrainContextTokens: 2 * ctx, Params: 26_000_000, Bytes: 28_000_000, VocabSize: 256,
		}},
		Pause:  100 * time.Microsecond, // an endless answer must not flood its client
		status: ipc.Status{State: ipc.Ready},

		cancelled: make(chan struct{}, 64),
	}
}

// SetStatus changes what Status answers.
func (e *Engine) SetStatus(s ipc.Status) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.status = s
}

// Status implements ipc.Engine.
func (e *Engine) Status() ipc.Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.status
}

// Requests returns the generation requests so far.
func (e *Engine) Requests() []*ipc.Request {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]*ipc.Request(nil), e.requests...)
}

// Cancelled delivers a value for each generation that ended because its context did.
func (e *Engine) Cancelled() <-chan struct{} { return e.cancelled }

// Models implements ipc.Engine.
func (e *Engine) Models(context.Context) []ipc.ModelInfo { return e.List }

// Tokenize implements ipc.Engine: one token per byte.
func (e *Engine) Tokenize(_ context.Context, req ipc.TokenizeRequest) ([]ipc.Token, error) {
	tokens := []ipc.Token{}
	if req.AddSpecial {
		tokens = append(tokens, ipc.Token{ID: 256, Piece: []byte("<s>")})
	}
	for _, b := range []byte(req.Content) {
		tokens = append(tokens, ipc.Token{ID: int32(b), Piece: []byte{b}})
	}
	return tokens, nil
}

// CountTokens implements ipc.Engine: one token per byte of the messages.
func (e *Engine) CountTokens(_ context.Context, req *ipc.Request) (int, error) {
	return len(promptText(req)), nil
}

// Detokenize implements ipc.Engine.
func (e *Engine) Detokenize(_ context.Context, _ string, ids []int32) (string, error) {
	text := make([]byte, len(ids))
	for i, id := range ids {
		if id > 255 {
			return "", &ipc.Error{Kind: ipc.KindInvalidRequest, Param: "tokens",
				Message: fmt.Sprintf("token id %d is outside the vocabulary of 256", id)}
		}
		text[i] = byte(id)
	}
	return strings.ToValidUTF8(string(text), "\uFFFD"), nil
}

// Embed implements ipc.Engine: of each input the vector that [Vector] gives.
func (e *Engine) Embed(_ context.Context, req *ipc.EmbedRequest, accepted func()) (ipc.Embeddings, error) {
	e.mu.Lock()
	e.embeds = append(e.embeds, req)
	e.mu.Unlock()
	var out ipc.Embeddings
	for i, in := range req.Inputs {
		n := len(in.Text) + len(in.Tokens)
		if n > e.Context {
			return ipc.Embeddings{}, ipc.InputLengthError(i, n, e.Context)
		}
		v := Vector(n)
		if req.Dimensions > len(v) {
			return ipc.Embeddings{}, &ipc.Error{Kind: ipc.KindInvalidRequest, Param: "dimensions", Message: fmt.Sprintf("dimensions must be from 1 to %d, got %d", len(v), req.Dimensions)}
		}
		if req.Dimensions > 0 {
			v = v[:req.Dimensions]
		}
		out.Vectors, out.Tokens = append(out.Vectors, v), out.Tokens+n
	}
	accepted()
	return out, nil
}

// Vector is that of an input of n tokens.
func Vector(n int) []float32 {
	return []float32{float32(math.Sin(float64(n))), float32(math.Cos(float64(n))), 0}
}

// Embeds returns the requests for embeddings so far.
func (e *Engine) Embeds() []*ipc.EmbedRequest {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]*ipc.EmbedRequest(nil), e.embeds...)
}

// Generate implements ipc.Engine.
func (e *Engine) Generate(ctx context.Context, req *ipc.Request, emit func(ipc.Delta) error) (ipc.Result, error) {
	e.mu.Lock()
	e.requests = append(e.requests, req)
	e.mu.Unlock()
	generate := e.play
	if e.GenerateFunc != nil {
		generate = e.GenerateFunc
	}
	turn := answered{Message: ipc.Message{Role: "assistant", Note: req.Note}}
	res, err := generate(ctx, req, func(d ipc.Delta) error {
		turn.add(d)
		return emit(d)
	})
	if err == nil && e.Store != nil && req.Session != "" {
		res.Session = turn.keep(e.Store, req)
	}
	if ctx.Err() != nil {
		select {
		case e.cancelled <- struct{}{}:
		default: // nobody counts this many
		}
	}
	return res, err
}

// play answers with the script.
func (e *Engine) play(ctx context.Context, req *ipc.Request, emit func(ipc.Delta) error) (ipc.Result, error) {
	prompt := promptText(req)
	n := len(prompt)
	if n >= e.Context {
		return ipc.Result{}, ipc.ContextLengthError(n, e.Context)
	}
	res := ipc.Result{PromptTokens: n, FinishReason: ipc.FinishStop, PromptTime: 10 * time.Millisecond}
	for _, done := range []int{0, n} {
		if err := emit(ipc.Delta{Progress: &ipc.Progress{Done: done, Total: n}}); err != nil {
			return res, err
		}
	}
	room := e.Context - n
	if req.MaxTokens > 0 {
		room = min(room, req.MaxTokens)
	}
	if calls, ok := callsOf(req); ok {
		return e.call(ctx, calls, res, emit)
	}
	thought := e.Thought
	if strings.Contains(prompt, Pondering) {
		thought = []string{"Let me", " see."}
	}
	for _, piece := range thought {
		if err := e.pause(ctx); err != nil {
			return res, err
		}
		if err := emit(ipc.Delta{Thought: piece}); err != nil {
			return res, err
		}
		res.CompletionTokens++
		res.ThoughtTokens++
	}
	endless := strings.Contains(prompt, Endless)
	for i := 0; endless || i < len(e.Script); i++ {
		if i == room {
			res.FinishReason = ipc.FinishLength
			break
		}
		if err := e.pause(ctx); err != nil {
			return res, err
		}
		if i == 1 && strings.Contains(prompt, Failing) {
			return res, errors.New("scripted failure")
		}
		if err := emit(e.piece(req, i%len(e.Script))); err != nil {
			return res, err
		}
		res.CompletionTokens++
		res.PredictTime += 5 * time.Millisecond
	}
	return res, nil
}

// callsOf is what a request with tools is answered with, unless it brings their
// results: a call of each, with Arguments.
func callsOf(req *ipc.Request) ([]ipc.CallDelta, bool) {
	if req.Tools == nil || req.Messages[len(req.Messages)-1].Role == "tool" {
		return nil, false
	}
	var calls []ipc.CallDelta
	for i, f := range req.Tools.Functions {
		half := len(Arguments) / 2
		calls = append(calls,
			ipc.CallDelta{Index: i, ID: fmt.Sprintf("call_%d", i), Name: f.Name, Arguments: Arguments[:half]},
			ipc.CallDelta{Index: i, Arguments: Arguments[half:]})
	}
	return calls, true
}

func (e *Engine) call(ctx context.Context, calls []ipc.CallDelta, res ipc.Result, emit func(ipc.Delta) error) (ipc.Result, error) {
	for _, c := range calls {
		if err := e.pause(ctx); err != nil {
			return res, err
		}
		if err := emit(ipc.Delta{Calls: []ipc.CallDelta{c}}); err != nil {
			return res, err
		}
		res.CompletionTokens++
	}
	res.FinishReason = ipc.FinishCalls
	return res, nil
}

func (e *Engine) pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(e.Pause):
		return nil
	}
}

func (e *Engine) piece(req *ipc.Request, i int) ipc.Delta {
	d := ipc.Delta{Text: e.Script[i]}
	if !req.Logprobs {
		return d
	}
	t := ipc.TokenLogprob{ID: FirstPieceID + int32(i), Bytes: []byte(e.Script[i]), Logprob: -0.25}
	for alt := range req.TopLogprobs {
		top := ipc.TokenLogprob{ID: t.ID, Bytes: t.Bytes, Logprob: t.Logprob}
		if alt > 0 {
			top = ipc.TokenLogprob{ID: int32(alt), Bytes: fmt.Appendf(nil, " alt%d", alt), Logprob: t.Logprob - float64(alt)}
		}
		if alt == ipc.MaxTopLogprobs-1 {
			top.Logprob = math.Inf(-1)
		}
		t.Top = append(t.Top, top)
	}
	d.Logprobs = []ipc.TokenLogprob{t}
	return d
}

func promptText(req *ipc.Request) string {
	if req.Prompt != nil {
		return req.Prompt.Text + strings.Repeat("x", len(req.Prompt.Tokens))
	}
	var text strings.Builder
	for _, m := range req.Messages {
		text.WriteString(m.Content)
	}
	return text.String()
}

// Serve runs a server for engine on a socket in a temporary directory until the
// test ends, and returns the socket's path. Without a logger in opt, it logs nothing.
func Serve(t testing.TB, engine ipc.Engine, opt ipc.Options) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := ipc.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	s := ipc.New(engine, opt)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shut down: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return path
}
