package ipc

import (
	"context"
	"io"
	"time"
)

// Sessions is what the server needs to manage stored conversations. All methods
// may be called concurrently, in every State of the engine. uid is the peer's:
// the sessions of others do not exist for it.
//
// Errors are *Error values where a client can act: KindNotFound with code
// session_not_found, KindInvalidRequest, KindConflict, KindStorage.
type Sessions interface {
	// List describes sessions, the last changed first.
	List(ctx context.Context, uid uint32, f SessionFilter) ([]Session, error)
	// Get describes a session and reads its messages.
	Get(ctx context.Context, uid uint32, id string) (Session, []SessionMessage, error)
	// Create makes a session without messages.
	Create(ctx context.Context, uid uint32, n SessionNew) (Session, error)
	// Edit changes what e names.
	Edit(ctx context.Context, uid uint32, id string, e SessionEdit) (Session, error)
	// Fork makes a session of the first at messages of another; a negative at
	// means all of them.
	Fork(ctx context.Context, uid uint32, id string, at int, title string) (Session, error)
	// Delete removes a session for good.
	Delete(ctx context.Context, uid uint32, id string) error
}

// SessionFiles moves sessions between daemons. An implementation of Sessions
// that has these methods too serves the routes for them.
type SessionFiles interface {
	// Export writes a session as one stream. What was written before an error is
	// no export.
	Export(ctx context.Context, uid uint32, id string, w io.Writer) error
	// Import makes a session of an export, which it reads once. A stream that is
	// not whole, or whose reader fails, leaves nothing behind.
	Import(ctx context.Context, uid uint32, r io.Reader) (Session, error)
}

// Session describes a stored conversation.
type Session struct {
	ID     string
	Title  string
	Tags   []string
	Model  string // id of the model that it was made for
	Policy string // of the KV cache, "" before the first turn
	Parent string // session that it was forked from, or ""

	Created, Updated, Used time.Time // Updated by a turn or edit, Used by a turn or restore

	Messages     int
	Tokens       int   // of all messages
	StoredTokens int   // of these, tokens whose keys and values are on disk
	Bytes        int64 // of stored keys and values, those shared with other sessions too

	Damage string // what could not be read, "" when all is well
}

// SessionMessage is one stored message.
type SessionMessage struct {
	Message
	Tokens int // of the message and what the template puts around it
}

// SessionFilter chooses sessions; zero fields choose all.
type SessionFilter struct {
	ID    string // equal
	Title string // equal
	Tag   string // one of the tags
	After string // only what follows the session with this id in the list
	Limit int    // most sessions; 0 = no limit
}

// SessionNew is what a session begins with. Title and Tags are within the
// limits that docs/API.md gives.
type SessionNew struct {
	Title string
	Tags  []string
	Model string // a ModelInfo.ID, never empty
}

// SessionEdit changes a session; nil fields stay.
type SessionEdit struct {
	Title *string
	Tags  *[]string
}

// SessionResult says what a generation did to the session that it named.
type SessionResult struct {
	ID         string
	Title      string
	Durable    bool   // the turn survives a power loss from now on
	Reason     string // why it is not durable, "" when it is
	Messages   int    // that the session has now
	Recomputed string // why tokens of the history were computed again, "" when none were
}
