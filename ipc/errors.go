package ipc

import (
	"fmt"
	"time"
)

// Kind classes the errors that an Engine reports to a client. docs/API.md
// lists the HTTP status, type and code of each.
type Kind int

const (
	// KindInternal is a defect or an unexpected failure: 500.
	KindInternal Kind = iota
	// KindInvalidRequest is a request that can never succeed as it stands: 400.
	KindInvalidRequest
	// KindContextLength is a prompt that does not fit the context; NPrompt and
	// NCtx must be set: 400, code context_length_exceeded.
	KindContextLength
	// KindModelNotFound names a model that is not served: 404.
	KindModelNotFound
	// KindBusy means that the queue is full; RetryAfter should be set: 429.
	KindBusy
	// KindLoading means that the model is being loaded or switched: 503.
	KindLoading
	// KindDraining means that the daemon is stopping: 503.
	KindDraining
	// KindFailed means that the engine is broken until an operator acts: 503,
	// not to be retried.
	KindFailed
)

// Error is an error that a client can act on.
type Error struct {
	Kind    Kind
	Param   string // request field at fault, e.g. "messages[2].content"
	Message string // complete sentence with the limit and the number; for clients
	Err     error  // cause, for the log only

	NPrompt, NCtx int           // tokens; KindContextLength
	RetryAfter    time.Duration // KindBusy, KindLoading; 0 = the kind's default
}

// Error returns the message, followed by the cause.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ContextLengthError says that a prompt of nPrompt tokens does not fit a context
// of nCtx tokens (at least one position must remain for the answer).
func ContextLengthError(nPrompt, nCtx int) *Error {
	return &Error{
		Kind:    KindContextLength,
		Message: fmt.Sprintf("the prompt has %d tokens, but the context holds %d; shorten the prompt or serve the model with a longer context", nPrompt, nCtx),
		NPrompt: nPrompt,
		NCtx:    nCtx,
	}
}
