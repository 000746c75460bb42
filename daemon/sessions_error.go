package daemon

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"edged/infer"
	"edged/ipc"
	"edged/store"
)

// sessionError gives the store's errors about a session the kinds that the
// server knows. What it does not recognise stays as it is and is answered as an
// internal error.
func sessionError(id string, err error) error {
	var mismatch *store.MismatchError
	var full *infer.ContextError
	var errno syscall.Errno
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.As(err, new(*ipc.Error)):
		return err
	case errors.Is(err, store.ErrNotFound):
		return ipc.SessionNotFoundError(id)
	case errors.As(err, &full):
		return &ipc.Error{Kind: ipc.KindContextLength, Param: "session", NPrompt: full.Prompt, NCtx: full.Context,
			Message: fmt.Sprintf("with these messages session %s has %d tokens, but the context holds %d; shorten them, fork it at an earlier message, or begin a new one with a summary of it", id, full.Prompt, full.Context)}
	case errors.As(err, &mismatch):
		return &ipc.Error{Kind: ipc.KindConflict, Code: ipc.CodeSessionMismatch, Param: "session", Message: mismatch.Error()}
	}
	for _, k := range []struct {
		is   error
		kind ipc.Kind
		code string
		text string
	}{
		{store.ErrConflict, ipc.KindConflict, ipc.CodeSessionChanged, "the session was changed by another request meanwhile; ask again"},
		{store.ErrBudget, ipc.KindStorage, ipc.CodeStorageFull, "the session does not fit into the disk budget (store.budget); delete sessions or raise it"},
		{syscall.ENOSPC, ipc.KindStorage, ipc.CodeStorageFull, "the disk with the sessions is full"},
		{syscall.EDQUOT, ipc.KindStorage, ipc.CodeStorageFull, "the disk quota for the sessions is used up"},
		{store.ErrCorrupt, ipc.KindStorage, ipc.CodeSessionDamaged, "what is stored of session " + id + " is damaged; `edged store check` says what"},
		{store.ErrClosed, ipc.KindDraining, "", "The daemon is stopping"},
	} {
		if errors.Is(err, k.is) {
			return &ipc.Error{Kind: k.kind, Code: k.code, Param: "session", Message: k.text, Err: err}
		}
	}
	if errors.As(err, &errno) {
		return &ipc.Error{Kind: ipc.KindStorage, Code: ipc.CodeStorageFailed, Param: "session", Message: fmt.Sprintf("the disk with the sessions failed: %v", errno), Err: err}
	}
	return err
}

// manageError is sessionError for calls that may be at fault themselves, such as
// an import of something else.
func manageError(id string, err error) error {
	if errors.Is(err, store.ErrInvalid) || errors.Is(err, store.ErrNewer) {
		return &ipc.Error{Kind: ipc.KindInvalidRequest, Message: err.Error()}
	}
	return sessionError(id, err)
}
