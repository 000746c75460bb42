package infer

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// What a caller may branch on with errors.Is. The typed errors below carry
// the numbers and unwrap to these.
var (
	ErrInvalid       = errors.New("request is not valid")
	ErrContext       = errors.New("prompt does not fit the context")
	ErrModelNotFound = errors.New("model is not served")
	ErrBusy          = errors.New("queue is full")
	ErrLoading       = errors.New("no model is ready yet")
	ErrDraining      = errors.New("engine is draining")
	ErrFailed        = errors.New("engine has failed")
	ErrClosed        = errors.New("engine is closed")
	ErrNotLoaded     = errors.New("model cannot be loaded")
	ErrNoTemplate    = errors.New("model has no chat template")
	ErrNoLogits      = errors.New("the model gave no usable logits") // of weights, or of a cache, that are no numbers
)

// InvalidError names the field of a request or configuration that is at fault.
type InvalidError struct {
	Field  string // as in the API: "top_p", "messages", "stop"
	Reason string // limit and value
}

func (e *InvalidError) Error() string { return e.Field + ": " + e.Reason }

// Unwrap makes errors.Is(err, ErrInvalid) true.
func (e *InvalidError) Unwrap() error { return ErrInvalid }

// ContextError is a prompt that leaves no position of the context for the
// completion, or an input to be embedded that is longer than the context.
type ContextError struct {
	Prompt, Context int // tokens
	Input           int // 0 for a prompt; the first input is 1
}

func (e *ContextError) Error() string {
	if e.Input > 0 {
		return fmt.Sprintf("input %d has %d tokens, but the context holds %d", e.Input-1, e.Prompt, e.Context)
	}
	return fmt.Sprintf("the prompt has %d tokens, but the context holds %d, and at least one must remain for the completion", e.Prompt, e.Context)
}

// Unwrap makes errors.Is(err, ErrContext) true.
func (e *ContextError) Unwrap() error { return ErrContext }

// ModelError names a model that this engine does not serve, or does not
// switch to.
type ModelError struct {
	Model    string
	Known    []string // configured names
	Resident string   // set when Model is configured but switching is off
}

func (e *ModelError) Error() string {
	if e.Resident != "" {
		return fmt.Sprintf("model %q is configured but not resident, and switching is off; resident: %s", e.Model, e.Resident)
	}
	return fmt.Sprintf("model %q is not configured; configured: %s", e.Model, strings.Join(e.Known, ", "))
}

// Unwrap makes errors.Is(err, ErrModelNotFound) true.
func (e *ModelError) Unwrap() error { return ErrModelNotFound }

// BusyError says how many requests wait already.
type BusyError struct {
	Queued, Limit int
	Wait          time.Duration // about what those that wait will take; 0 = not known yet
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("%d requests are waiting, the limit is %d", e.Queued, e.Limit)
}

// Unwrap makes errors.Is(err, ErrBusy) true.
func (e *BusyError) Unwrap() error { return ErrBusy }

// WaitError says that a request has waited for as long as one may.
type WaitError struct {
	Limit  time.Duration
	Queued int // requests that waited, this one included
}

func (e *WaitError) Error() string {
	return fmt.Sprintf("the request has waited in the queue for %v, which is the limit; %d requests are waiting", e.Limit, e.Queued)
}

// Unwrap makes errors.Is(err, ErrBusy) true.
func (e *WaitError) Unwrap() error { return ErrBusy }
