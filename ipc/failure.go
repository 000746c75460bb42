package ipc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"edged/ipc/api"
)

// errDraining cancels what still runs when the time to finish it is over.
var errDraining = errors.New("the daemon is stopping")

// errSlowClient ends an answer that its client does not read.
var errSlowClient = errors.New("the client does not read its answer")

// Values of the type field of an error.
const (
	typeInvalid     = "invalid_request_error"
	typeNotFound    = "not_found_error"
	typePermission  = "permission_error"
	typeRateLimit   = "rate_limit_error"
	typeUnavailable = "unavailable_error"
	typeServer      = "server_error"
	typeConflict    = "conflict_error"
	typeAuth        = "authentication_error"
)

// failure is an error as HTTP carries it.
type failure struct {
	status     int
	kind       string // one of the type constants
	code       string // "" = null
	param      string // "" = null
	message    string
	retryAfter time.Duration // 0 = no header
	noRetry    bool          // x-should-retry: false; the SDKs retry 408, 409, 429 and 5xx otherwise

	nPrompt, nCtx int
}

// statusClientClosed is what nginx logs for a client that hung up.
const statusClientClosed = 499

// defaultRetryAfter is what clients are told to wait for a model that loads.
const defaultRetryAfter = 2 * time.Second

// failureOf maps an engine error. internal tells that the client does not get to
// see the cause, which must be logged.
func failureOf(err error, requestID string) (f failure, internal bool) {
	var e *Error
	var late *deadlineError
	switch {
	case errors.As(err, &late):
		return late.failure(), false
	case errors.Is(err, errDraining):
		return drainingFailure(), false
	case errors.Is(err, context.Canceled):
		// Rarely read by anybody, but the end of a client's sending side counts
		// as a hang-up too.
		return failure{status: statusClientClosed, kind: typeInvalid, code: "cancelled", message: "the client has closed the connection"}, false
	case errors.Is(err, errSlowClient):
		return failure{status: http.StatusRequestTimeout, kind: typeServer, code: "client_too_slow", noRetry: true, message: err.Error()}, false
	case !errors.As(err, &e), e.Kind == KindInternal, e.Message == "":
		return internalFailure(requestID), true
	}
	f = failure{param: e.Param, message: e.Message}
	switch e.Kind {
	case KindInvalidRequest:
		f.status, f.kind = http.StatusBadRequest, typeInvalid
	case KindContextLength:
		f.status, f.kind, f.code = http.StatusBadRequest, typeInvalid, "context_length_exceeded"
		f.nPrompt, f.nCtx, f.noRetry = e.NPrompt, e.NCtx, true
	case KindModelNotFound:
		f.status, f.kind, f.code = http.StatusNotFound, typeNotFound, "model_not_found"
	case KindBusy:
		f.status, f.kind, f.code = http.StatusTooManyRequests, typeRateLimit, "queue_full"
		f.retryAfter = max(e.RetryAfter, time.Second)
	case KindLoading:
		f.status, f.kind, f.code = http.StatusServiceUnavailable, typeUnavailable, "loading"
		if f.retryAfter = e.RetryAfter; f.retryAfter == 0 {
			f.retryAfter = defaultRetryAfter
		}
	case KindDraining:
		f.status, f.kind, f.code, f.retryAfter = http.StatusServiceUnavailable, typeUnavailable, "draining", defaultRetryAfter
	case KindFailed:
		f.status, f.kind, f.code, f.noRetry = http.StatusServiceUnavailable, typeServer, "engine_failed", true
	case KindNotFound:
		f.status, f.kind, f.code = http.StatusNotFound, typeNotFound, e.Code
	case KindConflict:
		// A turn that is sent again would follow another one than its author saw.
		f.status, f.kind, f.code, f.noRetry = http.StatusConflict, typeConflict, e.Code, true
	case KindStorage:
		f.status, f.kind, f.code, f.noRetry = http.StatusInternalServerError, typeServer, e.Code, true
		if e.Code == CodeStorageFull || e.Code == CodeQuota {
			f.status = http.StatusInsufficientStorage
		}
		return f, e.Err != nil
	default:
		return internalFailure(requestID), true
	}
	return f, false
}

// failureOfStatus tells why the engine takes no requests, or nil when it does.
func failureOfStatus(s Status) *Error {
	withText := func(msg string) string {
		if s.Text != "" {
			msg += ": " + s.Text
		}
		return msg
	}
	switch {
	case s.State == Ready || s.State == Failed && s.Retries:
		return nil
	case s.State == Draining:
		return &Error{Kind: KindDraining, Message: withText("The daemon is stopping")}
	case s.State == Failed:
		return &Error{Kind: KindFailed, Message: withText("The engine has failed")}
	default:
		// llama-server's text, which clients look for.
		return &Error{Kind: KindLoading, Message: withText("Loading model")}
	}
}

func drainingFailure() failure {
	return failure{
		status: http.StatusServiceUnavailable, kind: typeUnavailable, code: "draining",
		message: "The daemon is stopping; the answer was cut off", retryAfter: defaultRetryAfter,
	}
}

func internalFailure(requestID string) failure {
	// Most internal errors repeat: a retry would cost a second prefill.
	return failure{
		status: http.StatusInternalServerError, kind: typeServer, code: "internal_error", noRetry: true,
		message: fmt.Sprintf("Internal error; the daemon's log has the cause under %s", requestID),
	}
}

// clientGone reports whether ctx ended because nobody waits for the answer any more.
func clientGone(ctx context.Context) bool {
	return ctx.Err() != nil && !errors.Is(context.Cause(ctx), errDraining)
}

// body renders f for a response or an error event.
func (f failure) body() api.ErrorResponse {
	return api.ErrorResponse{Error: api.ErrorDetail{
		Message: f.message, Type: f.kind, Param: orNull(f.param), Code: orNull(f.code),
		NPromptTokens: f.nPrompt, NCtx: f.nCtx,
	}}
}

// setHeaders adds the headers that steer the retries of SDKs.
func (f failure) setHeaders(h http.Header) {
	if f.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(f.retryAfter.Seconds()))))
	}
	if f.noRetry {
		h.Set("X-Should-Retry", "false")
	}
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
