package chat

import "fmt"

// A RaisedError is a template's own refusal of a conversation: it called
// raise_exception. It is the client's mistake, not the server's.
type RaisedError struct {
	Message string // the template's words
}

func (e *RaisedError) Error() string { return "chat template refuses the conversation: " + e.Message }

// A RequestError is a request that cannot be given to any template.
type RequestError struct {
	Field string // e.g. "messages[2].tool_calls"
	Err   error
}

func (e *RequestError) Error() string { return fmt.Sprintf("chat request %s: %v", e.Field, e.Err) }

func (e *RequestError) Unwrap() error { return e.Err }
