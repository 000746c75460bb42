package ipc

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// endpoint is one of the routes that generate.
type endpoint struct {
	decode    func(body []byte) (*job, *Error)
	idPrefix  string
	newFormat func(context.Context, *job, head) (format, error)
	prepare   func(context.Context, *job) error // nil = nothing; before the model is resolved
}

func (s *Server) handleChat(w *response, r *http.Request) error {
	return s.handleGenerate(w, r, endpoint{decode: decodeChat, idPrefix: "chatcmpl-", newFormat: func(_ context.Context, j *job, h head) (format, error) {
		return &chatFormat{completions: j.completions(h), choices: j.choices, logprobs: j.req.Logprobs}, nil
	}})
}

func (s *Server) handleCompletion(w *response, r *http.Request) error {
	return s.handleGenerate(w, r, endpoint{decode: decodeCompletion, idPrefix: "cmpl-", newFormat: func(ctx context.Context, j *job, h head) (format, error) {
		f := &completionFormat{completions: j.completions(h), logprobs: j.req.Logprobs, alternatives: j.req.TopLogprobs > 0, offsets: make([]int, j.choices)}
		var err error
		if j.echo {
			if f.echo = j.req.Prompt.Text; j.req.Prompt.Tokens != nil {
				f.echo, err = s.engine.Detokenize(ctx, j.req.Model, j.req.Prompt.Tokens)
			}
		}
		return f, err
	}})
}

// handleGenerate is the way of every generation request: body, model, answer.
func (s *Server) handleGenerate(w *response, r *http.Request, e endpoint) error {
	j, release, err := decode(s, w, r, e.decode)
	if err != nil {
		return err
	}
	defer release()
	j.accepted = release
	j.req.UID = peerOf(r.Context())
	if bad := nameSession(j, r.Header); bad != nil {
		return bad
	}
	if e.prepare != nil {
		if err := e.prepare(r.Context(), j); err != nil {
			return err
		}
	}
	if j.req.Session != "" {
		if j.req.Model, err = s.modelOfSession(r.Context(), &j.req); err != nil {
			return err
		}
	}
	if j.req.Model, err = s.resolveModel(r.Context(), j.req.Model); err != nil {
		return err
	}
	if j.req.ID == "" {
		j.req.ID = e.idPrefix + s.newID()
	}
	f, err := e.newFormat(r.Context(), j, head{id: j.req.ID, model: j.req.Model, created: s.now().Unix()})
	if err != nil {
		return err
	}
	answer := s.complete
	if j.stream {
		answer = s.stream
	}
	began := time.Now()
	res, err := answer(w, r, j, f)
	j.answered = err == nil
	s.logGeneration(w, r, j, res, time.Since(began), err)
	if w.begun {
		return nil // the stream has told the client
	}
	return err
}

// complete collects the answer and sends it as one response.
func (s *Server) complete(w *response, r *http.Request, j *job, f format) (Result, error) {
	c := &collector{ctx: r.Context(), answers: make([]answer, j.choices)}
	res, err := s.generate(r.Context(), j, c)
	if err != nil {
		return res, err
	}
	return res, writeJSON(w, http.StatusOK, f.whole(c.answers, res))
}

// collector is the sink of an answer that is sent as a whole.
type collector struct {
	ctx     context.Context // of the client
	answers []answer
}

// delta implements sink.
func (c *collector) delta(choice int, d Delta) error {
	a := &c.answers[choice]
	a.thought, a.text = append(a.thought, d.Thought...), append(a.text, d.Text...)
	a.calls = appendCalls(a.calls, d.Calls)
	a.logprobs = append(a.logprobs, cloneLogprobs(d.Logprobs)...)
	return context.Cause(c.ctx)
}

// finish implements sink.
func (c *collector) finish(choice int, res Result) error {
	c.answers[choice].res = res
	return nil
}

// explain completes an engine's error with what only the server knows: why it
// was told to stop, and which field the prompt came from.
func explain(ctx context.Context, err error, param string) error {
	var e *Error
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &e):
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	case e.Kind != KindContextLength || e.Param != "":
		return err
	}
	named := *e
	named.Param = param
	return &named
}

// promptField is the field that a request's prompt came from.
func (r *Request) promptField() string {
	if r.Prompt != nil {
		return "prompt"
	}
	return "messages"
}

// outcomeOf says for the log how a request has ended.
func outcomeOf(ctx context.Context, err error) string {
	switch {
	case err == nil:
		return "done"
	case clientGone(ctx):
		return "cancelled by client"
	}
	return "error: " + err.Error()
}

// logGeneration writes one line per answer. It never contains text of the client or the model.
func (s *Server) logGeneration(w *response, r *http.Request, j *job, res Result, took time.Duration, err error) {
	outcome := string(res.FinishReason)
	if err != nil {
		outcome = outcomeOf(r.Context(), err)
	}
	s.log.Info("ipc: generation", "request", w.id, "id", j.req.ID, "model", j.req.Model, "stream", j.stream,
		"outcome", outcome, "prompt_tokens", res.PromptTokens, "cached_tokens", res.CachedTokens,
		"completion_tokens", res.CompletionTokens, "took", took.Round(time.Millisecond))
}
