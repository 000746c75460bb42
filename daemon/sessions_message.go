package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"edged/ipc"
)

// messageBody is a message as the store keeps it: JSON with the field names of
// the API. What is stored is exported too, so fields are only ever added.
type messageBody struct {
	Role       string          `json:"role"`
	Name       string          `json:"name,omitempty"`
	Content    string          `json:"content"`
	Reasoning  string          `json:"reasoning_content,omitempty"`
	ToolCalls  json.RawMessage `json:"tool_calls,omitempty"`
	ToolCallID string          `json:"tool_call_id,omitempty"`
	Note       json.RawMessage `json:"note,omitempty"`
}

// encodeMessage is the body of a message in the store.
func encodeMessage(m ipc.Message) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // a document takes the space that it has
	if err := enc.Encode(messageBody(m)); err != nil {
		panic(err) // strings always marshal, and tool calls were JSON when they came
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// decodeMessage reads what encodeMessage wrote. A body may come from an import,
// and so hold anything.
func decodeMessage(body []byte) (ipc.Message, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields() // a field of a newer version must not be lost unseen
	var m messageBody
	if err := dec.Decode(&m); err != nil {
		return ipc.Message{}, fmt.Errorf("decode message: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return ipc.Message{}, errors.New("decode message: something follows the JSON object")
	}
	if !slices.Contains([]string{"system", "user", "assistant", "tool"}, m.Role) {
		return ipc.Message{}, fmt.Errorf("decode message: role %.40q is not known", m.Role)
	}
	if string(m.ToolCalls) == "null" {
		m.ToolCalls = nil
	}
	var calls []json.RawMessage
	if m.ToolCalls != nil && (m.Role != "assistant" || json.Unmarshal(m.ToolCalls, &calls) != nil || len(calls) == 0) {
		return ipc.Message{}, errors.New("decode message: tool_calls must be a list of calls of the assistant")
	}
	return ipc.Message(m), nil
}
