package daemon

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"edged/daemon/health"
	"edged/infer"
	"edged/infer/chat"
	"edged/infer/sample"
	"edged/ipc"
	"edged/store"
)

// inferEngine is what answers requests; *infer.Engine is one.
type inferEngine interface {
	textEngine
	Generate(ctx context.Context, req *infer.Request, emit func(infer.Delta) error) (infer.Result, error)
	Embed(ctx context.Context, req *infer.EmbedRequest, accepted func()) (infer.Embeddings, error)
	Models() []infer.ModelInfo
	Status() infer.Status
	SnapshotKey(model string) (infer.Key, bool)
}

// textEngine turns texts into numbers and back.
type textEngine interface {
	Tokenize(ctx context.Context, model, text string, addSpecial, parseSpecial bool) ([]infer.Token, error)
	Detokenize(ctx context.Context, model string, ids []int32) (string, error)
	CountTokens(ctx context.Context, req *infer.Request) (int, error)
}

// adapter makes an inference engine look as the API server wants it. It may be
// used from any goroutine.
type adapter struct {
	engine   inferEngine
	store    *store.Store // nil: sessions are not kept
	log      *slog.Logger
	turns    turns
	quota    quota
	defaults atomic.Pointer[Sampling] // replaced on reload
	meter    *meter
	health   *health.Registry
}

var _ ipc.Engine = (*adapter)(nil)

func newAdapter(e inferEngine, defaults Sampling, sessions *store.Store, log *slog.Logger) *adapter {
	a := &adapter{engine: e, store: sessions, log: log, meter: newMeter(), health: newHealth()}
	a.defaults.Store(&defaults)
	a.quota.limits = func() Store { return Store{} } // newService knows them
	return a
}

// Generate implements ipc.Engine.
func (a *adapter) Generate(ctx context.Context, req *ipc.Request, emit func(ipc.Delta) error) (ipc.Result, error) {
	return a.meter.generate(emit, func(emit func(ipc.Delta) error) (ipc.Result, error) { return a.generate(ctx, req, emit) })
}

func (a *adapter) generate(ctx context.Context, req *ipc.Request, emit func(ipc.Delta) error) (ipc.Result, error) {
	if req.Session != "" {
		return a.generateTurn(ctx, req, emit)
	}
	r, err := inferRequest(req, *a.defaults.Load())
	if err != nil {
		return ipc.Result{}, err
	}
	if a.store != nil {
		r.Keeper = prefixes{a.store.User(req.UID), a.log}
	}
	res, err := a.engine.Generate(ctx, r, func(d infer.Delta) error { return emit(ipcDelta(req.ID, d)) })
	if err != nil {
		return ipc.Result{}, ipcError(err)
	}
	return ipcResult(res), nil
}

// Embed implements ipc.Engine.
func (a *adapter) Embed(ctx context.Context, req *ipc.EmbedRequest, accepted func()) (ipc.Embeddings, error) {
	r := &infer.EmbedRequest{ID: req.ID, Model: req.Model, Owner: req.UID, Client: req.Client, Dimensions: req.Dimensions}
	for _, in := range req.Inputs {
		r.Inputs = append(r.Inputs, infer.Prompt{Text: in.Text, Tokens: in.Tokens})
	}
	res, err := a.engine.Embed(ctx, r, accepted)
	if err != nil {
		return ipc.Embeddings{}, ipcError(err)
	}
	return ipc.Embeddings{Vectors: res.Vectors, Tokens: res.Tokens}, nil
}

func ipcResult(res infer.Result) ipc.Result {
	return ipc.Result{
		FinishReason:     ipc.FinishReason(res.Finish),
		StopSequence:     res.Stop,
		PromptTokens:     res.Usage.Prompt,
		CachedTokens:     res.Usage.Cached,
		CompletionTokens: res.Usage.Completion,
		ThoughtTokens:    res.Usage.Thought,
		RestoredTokens:   res.Usage.Restored,
		Reach:            (*ipc.Reach)(res.Reach),
		RestoreTime:      res.Timings.Restore,
		PromptTime:       res.Timings.Prefill,
		PredictTime:      res.Timings.Decode,
	}
}

func inferRequest(req *ipc.Request, def Sampling) (*infer.Request, error) {
	r := &infer.Request{
		ID: req.ID, Owner: req.UID, Client: req.Client, Model: req.Model, MaxTokens: req.MaxTokens, Stop: req.Stop,
		Sampling: samplingParams(req, def), Logprobs: req.Logprobs, TopLogprobs: req.TopLogprobs, Reach: req.Reach, RawThoughts: req.RawThoughts,
	}
	if g := req.Grammar; g != nil {
		r.Grammar = &infer.Grammar{Field: g.Field, GBNF: g.GBNF, Schema: g.Schema, AnyObject: g.AnyObject}
	}
	if t := req.Tools; t != nil {
		r.Tools = &infer.Tools{JSON: t.JSON, Must: t.Must, Single: t.Single}
		for _, f := range t.Functions {
			r.Tools.Functions = append(r.Tools.Functions, infer.Function(f))
		}
	}
	if req.Prompt != nil {
		r.Prompt = &infer.Prompt{Text: req.Prompt.Text, Tokens: req.Prompt.Tokens}
		return r, nil
	}
	if len(req.TemplateVars) > 0 {
		var vars map[string]json.RawMessage // raw, so that the template sees the keys in their order
		if err := json.Unmarshal(req.TemplateVars, &vars); err != nil {
			return nil, &ipc.Error{Kind: ipc.KindInvalidRequest, Param: "chat_template_kwargs", Message: "chat_template_kwargs must be a JSON object", Err: err}
		}
		r.Vars = make(map[string]any, len(vars))
		for name, v := range vars {
			r.Vars[name] = v
		}
	}
	for _, m := range req.Messages {
		r.Messages = append(r.Messages, chat.Message{
			Role: m.Role, Name: m.Name, Content: m.Content, ReasoningContent: m.Reasoning,
			ToolCalls: m.ToolCalls, ToolCallID: m.ToolCallID,
		})
	}
	return r, nil
}

// samplingParams fills what the request left open from the configuration.
func samplingParams(req *ipc.Request, def Sampling) sample.Params {
	s := req.Sampling
	p := sample.Params{
		Temperature:      float32(or(s.Temperature, def.Temperature)),
		TopK:             or(s.TopK, def.TopK),
		Typical:          float32(or(s.TypicalP, def.TypicalP)),
		TopP:             float32(or(s.TopP, def.TopP)),
		MinP:             float32(or(s.MinP, def.MinP)),
		RepeatPenalty:    float32(or(s.RepeatPenalty, def.RepeatPenalty)),
		PresencePenalty:  float32(or(s.PresencePenalty, 0)),
		FrequencyPenalty: float32(or(s.FrequencyPenalty, 0)),
		Logprobs:         req.Logprobs,
		TopLogprobs:      req.TopLogprobs,
	}
	switch n := s.RepeatLastN; {
	case n == nil:
	case *n == 0: // the API's "looks back on nothing"; the sampler's 0 is its default
		p.RepeatPenalty = 1
	default:
		p.PenaltyLastN = *n
	}
	if s.Seed != nil {
		seed := uint64(*s.Seed)
		p.Seed = &seed
	}
	if len(s.LogitBias) > 0 {
		p.LogitBias = make(map[int32]float32, len(s.LogitBias))
		for id, b := range s.LogitBias {
			p.LogitBias[id] = float32(b)
		}
	}
	return p
}

func or[T any](v *T, otherwise T) T {
	if v != nil {
		return *v
	}
	return otherwise
}

// ipcDelta copies what the engine reuses after emit.
func ipcDelta(request string, d infer.Delta) ipc.Delta {
	out := ipc.Delta{Thought: string(d.Thought), Text: string(d.Text), Logprobs: ipcLogprobs(d.Logprobs)}
	for _, c := range d.Calls {
		out.Calls = append(out.Calls, ipc.CallDelta{Index: c.Index, ID: callID(request, c), Name: c.Name, Arguments: c.Arguments})
	}
	if d.Progress != nil {
		p := ipc.Progress(*d.Progress)
		out.Progress = &p
	}
	return out
}

// callID names a call in its first piece. Models give calls no names of their
// own, but results of tools refer to them.
func callID(request string, c infer.CallDelta) string {
	if c.Name == "" {
		return ""
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", request, c.Index))
	return "call_" + hex.EncodeToString(sum[:12])
}

func ipcLogprobs(in []infer.TokenLogprob) []ipc.TokenLogprob {
	if in == nil {
		return nil
	}
	out := make([]ipc.TokenLogprob, len(in))
	for i, t := range in {
		out[i] = ipc.TokenLogprob{ID: t.ID, Bytes: bytes.Clone(t.Bytes), Logprob: float64(t.Logprob), Top: ipcLogprobs(t.Top)}
	}
	return out
}

// retryLoading is when a client should ask again while a model loads.
const retryLoading = 2 * time.Second

// maxRetryBusy is the longest that a client is told to wait for a full queue: some
// take what is longer for nothing.
const maxRetryBusy = time.Minute

// ipcError gives the engine's errors the kinds that the server knows. What it
// does not recognise stays as it is and is answered as an internal error.
func ipcError(err error) error {
	var tooLong *infer.ContextError
	if errors.As(err, &tooLong) && tooLong.Input > 0 {
		return ipc.InputLengthError(tooLong.Input-1, tooLong.Prompt, tooLong.Context)
	}
	if tooLong != nil {
		return ipc.ContextLengthError(tooLong.Prompt, tooLong.Context)
	}
	var invalid *infer.InvalidError
	if errors.As(err, &invalid) {
		return &ipc.Error{Kind: ipc.KindInvalidRequest, Param: invalid.Field, Message: invalid.Error()}
	}
	var model *infer.ModelError
	if errors.As(err, &model) {
		return &ipc.Error{Kind: ipc.KindModelNotFound, Param: "model", Message: model.Error()}
	}
	var busy *infer.BusyError
	if errors.As(err, &busy) {
		return &ipc.Error{Kind: ipc.KindBusy, Message: busy.Error(), RetryAfter: min(busy.Wait, maxRetryBusy)}
	}
	for _, k := range []struct {
		is   error
		kind ipc.Kind
		wait time.Duration
		par  string
		says string // before the error's own text
	}{
		{infer.ErrNoTemplate, ipc.KindInvalidRequest, 0, "messages", ""},
		{infer.ErrBusy, ipc.KindBusy, maxRetryBusy, "", ""}, // it has waited long
		{infer.ErrLoading, ipc.KindLoading, retryLoading, "", "Loading model: "},
		{infer.ErrDraining, ipc.KindDraining, 0, "", ""},
		{infer.ErrClosed, ipc.KindDraining, 0, "", ""},
		{infer.ErrFailed, ipc.KindFailed, 0, "", ""},
		{infer.ErrNotLoaded, ipc.KindFailed, 0, "", ""},
	} {
		if errors.Is(err, k.is) {
			return &ipc.Error{Kind: k.kind, Param: k.par, Message: k.says + err.Error(), RetryAfter: k.wait}
		}
	}
	return err
}

// Models implements ipc.Engine.
func (a *adapter) Models(context.Context) []ipc.ModelInfo {
	var out []ipc.ModelInfo
	for _, m := range a.engine.Models() {
		out = append(out, ipc.ModelInfo{
			ID: m.Name, Created: m.Modified, OwnedBy: "local", Loaded: m.Resident,
			ContextTokens: m.Context, TrainContextTokens: m.TrainContext,
			Params: m.Params, Bytes: m.Bytes, VocabSize: m.Vocab,
		})
	}
	return out
}

// Tokenize implements ipc.Engine.
func (a *adapter) Tokenize(ctx context.Context, req ipc.TokenizeRequest) ([]ipc.Token, error) {
	toks, err := a.engine.Tokenize(ctx, req.Model, req.Content, req.AddSpecial, req.ParseSpecial)
	if err != nil {
		return nil, ipcError(err)
	}
	out := make([]ipc.Token, len(toks))
	for i, t := range toks {
		out[i] = ipc.Token(t)
	}
	return out, nil
}

// CountTokens implements ipc.Engine.
func (a *adapter) CountTokens(ctx context.Context, req *ipc.Request) (int, error) {
	r, err := inferRequest(req, *a.defaults.Load())
	if err != nil {
		return 0, err
	}
	n, err := a.engine.CountTokens(ctx, r)
	if err != nil {
		return 0, ipcError(err)
	}
	return n, nil
}

// Detokenize implements ipc.Engine.
func (a *adapter) Detokenize(ctx context.Context, model string, ids []int32) (string, error) {
	s, err := a.engine.Detokenize(ctx, model, ids)
	if err != nil {
		return "", ipcError(err)
	}
	return s, nil
}

// Status implements ipc.Engine.
func (a *adapter) Status() ipc.Status {
	s := a.engine.Status()
	switch s.State {
	case infer.Empty, infer.Loading:
		return ipc.Status{State: ipc.Loading, Text: loadText(s.Load)}
	case infer.Ready:
		return ipc.Status{State: ipc.Ready, Text: modelText(s)}
	case infer.Draining:
		return ipc.Status{State: ipc.Draining, Text: fmt.Sprintf("%d requests are being finished", s.Running+s.Queued)}
	case infer.Closed:
		return ipc.Status{State: ipc.Draining}
	}
	return ipc.Status{State: ipc.Failed, Text: s.Reason, Retries: s.Retries}
}

// modelText names the resident model and its context, and the model's own
// context when less than that is served.
func modelText(s infer.Status) string {
	if s.Context < s.TrainContext {
		return fmt.Sprintf("%s, context %d of the model's %d tokens", s.Model, s.Context, s.TrainContext)
	}
	return fmt.Sprintf("%s, context %d tokens", s.Model, s.Context)
}

// loadText is a sentence for people.
func loadText(p infer.LoadProgress) string {
	switch {
	case p.Model == "":
		return "waiting for a model"
	case p.Total <= 0:
		return "loading " + p.Model
	}
	return fmt.Sprintf("loading %s: %d %% of %s", p.Model, 100*p.Done/p.Total, FormatBytes(p.Total))
}
