package api

import "encoding/json"

// SessionResult says what an answer did to the session that its request named.
type SessionResult struct {
	ID         string `json:"id"`
	Title      string `json:"title"`
	Durable    bool   `json:"durable"`              // the turn survives a power loss
	Reason     string `json:"reason,omitempty"`     // why it is not durable
	Messages   int    `json:"messages"`             // that the session has now
	Recomputed string `json:"recomputed,omitempty"` // why tokens of the history were computed again
}

// Session describes a stored conversation. Times are Unix seconds.
type Session struct {
	ID           string   `json:"id"`
	Object       string   `json:"object"` // "session"
	Title        string   `json:"title"`
	Tags         []string `json:"tags"`
	Model        string   `json:"model"`
	Policy       string   `json:"policy,omitempty"` // of the KV cache
	Parent       string   `json:"parent,omitempty"` // session that it was forked from
	Created      int64    `json:"created"`
	Updated      int64    `json:"updated"` // last turn or edit
	Used         int64    `json:"used"`    // last turn or restore
	Messages     int      `json:"messages"`
	Tokens       int      `json:"tokens"`
	StoredTokens int      `json:"stored_tokens"`    // of these, tokens that need not be computed again
	Bytes        int64    `json:"bytes"`            // of stored keys and values, shared ones too
	Damage       string   `json:"damage,omitempty"` // what could not be read
}

// SessionList is the answer of GET /v1/sessions.
type SessionList struct {
	Object  string    `json:"object"` // "list"
	Data    []Session `json:"data"`   // the last changed first
	HasMore bool      `json:"has_more"`
}

// SessionDetail is the answer of GET /v1/sessions/{id}.
type SessionDetail struct {
	Session
	History []SessionMessage `json:"history"`
}

// SessionMessage is one message of a session.
type SessionMessage struct {
	Role             string          `json:"role"`
	Name             string          `json:"name,omitempty"`
	Content          string          `json:"content"`
	ReasoningContent string          `json:"reasoning_content,omitempty"`
	ToolCalls        json.RawMessage `json:"tool_calls,omitempty"`
	ToolCallID       string          `json:"tool_call_id,omitempty"`
	Note             json.RawMessage `json:"note,omitempty"` // what the API keeps with an answer
	Tokens           int             `json:"tokens"`
}

// SessionDeleted is the answer of DELETE /v1/sessions/{id}.
type SessionDeleted struct {
	ID      string `json:"id"`
	Object  string `json:"object"` // "session.deleted"
	Deleted bool   `json:"deleted"`
}

// SessionNew is the body of POST /v1/sessions.
type SessionNew struct {
	Title string   `json:"title"`
	Tags  []string `json:"tags,omitempty"`
	Model string   `json:"model,omitempty"` // "" = the daemon's default model
}

// SessionEdit is the body of PATCH /v1/sessions/{id}; nil fields stay.
type SessionEdit struct {
	Title *string   `json:"title,omitempty"`
	Tags  *[]string `json:"tags,omitempty"`
}

// SessionFork is the body of POST /v1/sessions/{id}/fork.
type SessionFork struct {
	Title    string `json:"title"`
	Messages *int   `json:"messages,omitempty"` // that the fork begins with; nil = all
}
