package ipc

import (
	"errors"
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
	// KindFailed means that the engine is broken, or the model cannot be loaded, until
	// an operator acts: 503, not to be retried.
	KindFailed
	// KindNotFound names something else that is not there; Code must be set: 404.
	KindNotFound
	// KindConflict is a request that the state of a session does not allow; Code
	// must be set: 409, not to be retried by itself.
	KindConflict
	// KindStorage means that the store cannot write or read; Code must be set:
	// 507 for storage_full and quota_exceeded, otherwise 500.
	KindStorage
)

// Codes of KindConflict and KindStorage. docs/API.md says what each means.
const (
	CodeSessionBusy     = "session_busy"     // a turn of it is running
	CodeSessionChanged  = "session_changed"  // it has changed while the request ran
	CodeSessionMismatch = "session_mismatch" // stored for another model, policy or build; recompute helps
	CodeStorageFull     = "storage_full"
	CodeQuota           = "quota_exceeded" // the user has as much as one may have
	CodeStorageFailed   = "storage_failed"
	CodeSessionDamaged  = "session_damaged"
)

// Error is an error that a client can act on.
type Error struct {
	Kind    Kind
	Code    string // machine-readable, for kinds that have several
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

// failureIs says whether err is an Error with a code.
func failureIs(err error, code string) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
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

// InputLengthError is the same for an input, by its number, that is to be embedded.
func InputLengthError(input, nPrompt, nCtx int) *Error {
	return &Error{
		Kind: KindContextLength, Param: fmt.Sprintf("input[%d]", input), NPrompt: nPrompt, NCtx: nCtx,
		Message: fmt.Sprintf("input %d has %d tokens, but the context holds %d; cut it into pieces or serve the model with a longer context", input, nPrompt, nCtx),
	}
}
