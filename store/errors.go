package store

import (
	"errors"
	"fmt"
	"strings"
)

// Errors that callers branch on.
var (
	// ErrNotFound: the user has no such session. Others' are not told apart from
	// ones that do not exist.
	ErrNotFound = errors.New("no such session")
	// ErrConflict: the session has changed since the caller looked at it.
	ErrConflict = errors.New("session has changed")
	// ErrInvalid: the caller's or the file's data cannot be.
	ErrInvalid = errors.New("invalid data")
	// ErrFolder: the store's folder is another user's, or others may enter it.
	ErrFolder = errors.New("folder is not private")
	// ErrCorrupt: what was read is not what was stored.
	ErrCorrupt = errors.New("stored data is damaged")
	// ErrIndexLost: chunk files lie in the folder, and the index that names them does not.
	ErrIndexLost = errors.New("index is lost")
	// ErrKey: the store is sealed with another key, or is not, or is while no key
	// was given.
	ErrKey = errors.New("wrong key for the store")
	// ErrNewer: a newer version of this program has made the store.
	ErrNewer = errors.New("store is of a newer version")
	// ErrBudget: the payload does not fit into the disk budget, not even when
	// everything else is demoted.
	ErrBudget = errors.New("disk budget is exceeded")
	// ErrClosed: the store is closed.
	ErrClosed = errors.New("store is closed")
)

// LockedError says that another process has the store open.
type LockedError struct {
	Dir string
	PID int // 0 if the other has just begun
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("store %s is in use by another process", e.Dir)
	}
	return fmt.Sprintf("store %s is in use by process %d", e.Dir, e.PID)
}

// MismatchError says that a session's payload was made by something else than
// what would now read it. Its text can be replayed: see [User.Demote].
type MismatchError struct {
	Session string
	Fields  []string // of [Key] that differ
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("session %s was stored with another %s", e.Session, strings.Join(e.Fields, ", "))
}
