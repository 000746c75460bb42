package ipc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
)

func (s *Server) handleChat(w *response, r *http.Request) error {
	return s.handleGenerate(w, r, decodeChat, "chatcmpl-", func(j *job, h head) (format, error) {
		return &chatFormat{head: h, logprobs: j.req.Logprobs}, nil
	})
}

func (s *Server) handleCompletion(w *response, r *http.Request) error {
	return s.handleGenerate(w, r, decodeCompletion, "cmpl-", func(j *job, h head) (format, error) {
		f := &completionFormat{head: h, logprobs: j.req.Logprobs, alternatives: j.req.TopLogprobs > 0}
		var err error
		if j.echo {
			if f.echo = j.req.Prompt.Text; j.req.Prompt.Tokens != nil {
				f.echo, err = s.engine.Detokenize(r.Context(), j.req.Model, j.req.Prompt.Tokens)
			}
		}
		return f, err
	})
}

// handleGenerate is the way of every generation request: state, body, model, answer.
func (s *Server) handleGenerate(w *response, r *http.Request, decode func([]byte) (*job, *Error), idPrefix string, newFormat func(*job, head) (format, error)) error {
	if err := failureOfStatus(s.status()); err != nil {
		return err
	}
	body, release, err := s.readBody(w, r)
	if err != nil {
		return err
	}
	defer release()
	j, bad := decode(body)
	if bad != nil {
		return bad
	}
	j.accepted = release
	j.req.UID = peerOf(r.Context())
	if bad := nameSession(&j.req, r.Header); bad != nil {
		return bad
	}
	if j.req.Session != "" {
		if j.req.Model, err = s.modelOfSession(r.Context(), &j.req); err != nil {
			return err
		}
	}
	if j.req.Model, err = s.resolveModel(r.Context(), j.req.Model); err != nil {
		return err
	}
	j.req.ID = idPrefix + s.newID()
	f, err := newFormat(j, head{id: j.req.ID, model: j.req.Model, created: s.now().Unix()})
	if err != nil {
		return err
	}
	answer := s.complete
	if j.stream {
		answer = s.stream
	}
	began := time.Now()
	res, err := answer(w, r, j, f)
	s.logGeneration(w, r, j, res, time.Since(began), err)
	if w.begun {
		return nil // the stream has told the client
	}
	return err
}

// complete collects the answer and sends it as one response.
func (s *Server) complete(w *response, r *http.Request, j *job, f format) (Result, error) {
	var text strings.Builder
	var logprobs []TokenLogprob
	res, err := s.generate(r.Context(), j, func(d Delta) error {
		text.WriteString(d.Text)
		logprobs = append(logprobs, cloneLogprobs(d.Logprobs)...)
		return context.Cause(r.Context())
	})
	if err != nil {
		return res, err
	}
	return res, writeJSON(w, http.StatusOK, f.whole(text.String(), logprobs, res))
}

// generate calls the engine and turns a panic in it into an error: the daemon
// serves other clients too.
func (s *Server) generate(ctx context.Context, j *job, emit func(Delta) error) (res Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("ipc: panic in engine", "id", j.req.ID, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic in engine: %v", p)
		}
	}()
	res, err = s.engine.Generate(ctx, &j.req, func(d Delta) error {
		j.accepted()
		return emit(d)
	})
	if err == nil && res.FinishReason != FinishStop && res.FinishReason != FinishLength {
		return res, fmt.Errorf("engine ended with unknown finish reason %q", res.FinishReason)
	}
	return res, explain(ctx, err, &j.req)
}

// explain completes an engine's error with what only the server knows: why it
// was told to stop, and which field the prompt came from.
func explain(ctx context.Context, err error, req *Request) error {
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
	if named.Param = "messages"; req.Prompt != nil {
		named.Param = "prompt"
	}
	return &named
}

// logGeneration writes one line per answer. It never contains text of the client or the model.
func (s *Server) logGeneration(w *response, r *http.Request, j *job, res Result, took time.Duration, err error) {
	outcome := string(res.FinishReason)
	switch {
	case err == nil:
	case clientGone(r.Context()):
		outcome = "cancelled by client"
	default:
		outcome = "error: " + err.Error()
	}
	s.log.Info("ipc: generation", "request", w.id, "id", j.req.ID, "model", j.req.Model, "stream", j.stream,
		"outcome", outcome, "prompt_tokens", res.PromptTokens, "cached_tokens", res.CachedTokens,
		"completion_tokens", res.CompletionTokens, "took", took.Round(time.Millisecond))
}
