package ipc

import (
	"context"
	"net/http"

	"edged/ipc/api"
)

// handleMessages answers POST /v1/messages, Anthropic's form of a chat.
func (s *Server) handleMessages(w *response, r *http.Request) error {
	w.shape = anthropicShape(w.id)
	return s.handleGenerate(w, r, endpoint{decode: decodeAnthropic, idPrefix: "msg_", newFormat: func(_ context.Context, j *job, h head) (format, error) {
		return &messageFormat{head: h, request: w.id}, nil
	}})
}

// handleCountTokens answers POST /v1/messages/count_tokens.
func (s *Server) handleCountTokens(w *response, r *http.Request) error {
	w.shape = anthropicShape(w.id)
	req, release, err := decode(s, w, r, decodeAnthropicCount)
	if err != nil {
		return err
	}
	defer release()
	if req.Model, err = s.resolveModel(r.Context(), req.Model); err != nil {
		return err
	}
	n, err := s.engine.CountTokens(r.Context(), req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, api.AnthropicTokens{InputTokens: n})
}

// anthropicShape renders failures as Anthropic's API does.
func anthropicShape(requestID string) func(failure) any {
	return func(f failure) any {
		return api.AnthropicError{Type: "error", RequestID: requestID, Error: api.AnthropicErrorDetail{Type: anthropicType(f.status), Message: f.message}}
	}
}

// anthropicType is the type of an error by its status.
func anthropicType(status int) string {
	switch status {
	case http.StatusForbidden:
		return "permission_error"
	case http.StatusNotFound:
		return "not_found_error"
	case http.StatusRequestTimeout:
		return "timeout_error"
	case http.StatusConflict:
		return "conflict_error"
	case http.StatusRequestEntityTooLarge:
		return "request_too_large"
	case http.StatusTooManyRequests:
		return "rate_limit_error"
	case http.StatusServiceUnavailable:
		return "overloaded_error"
	}
	if status >= 500 {
		return "api_error"
	}
	return "invalid_request_error"
}
