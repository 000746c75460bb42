package api

// SessionResult says what an answer did to the session that its request named.
type SessionResult struct {
	ID         string `json:"id"`
	Title      string `json:"title"`
	Durable    bool   `json:"durable"`              // the turn survives a power loss
	Reason     string `json:"reason,omitempty"`     // why it is not durable
	Messages   int    `json:"messages"`             // that the session has now
	Recomputed string `json:"recomputed,omitempty"` // why tokens of the history were computed again
}
