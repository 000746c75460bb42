package ipc

import "encoding/json"

// Tools are functions that the model may call instead of answering in words.
type Tools struct {
	JSON      json.RawMessage // the array of tools in OpenAI's form, for the template
	Functions []Function      // that may be called, at least one
	Must      bool            // the answer is calls and nothing else
	Single    bool            // exactly one call; only with Must
}

// Function is one tool.
type Function struct {
	Name       string
	Parameters json.RawMessage // JSON schema of the arguments; nil = there are none
}

// CallDelta is a piece of a call.
type CallDelta struct {
	Index     int    // of the call in the answer, from 0
	ID, Name  string // in the first piece only
	Arguments string // a piece of a JSON object
}

// ToolCall is a whole call.
type ToolCall struct {
	ID, Name  string
	Arguments string // a JSON object, unless the answer was cut off
}

// appendCalls adds pieces to the calls so far.
func appendCalls(calls []ToolCall, pieces []CallDelta) []ToolCall {
	for _, p := range pieces {
		if p.Index == len(calls) {
			calls = append(calls, ToolCall{ID: p.ID, Name: p.Name})
		}
		calls[p.Index].Arguments += p.Arguments
	}
	return calls
}
