package api

import "encoding/json"

// Message of Anthropic's API: the answer of POST /v1/messages, and in a stream
// what message_start begins with.
type AnthropicMessage struct {
	ID           string           `json:"id"`
	Type         string           `json:"type"` // "message"
	Role         string           `json:"role"` // "assistant"
	Model        string           `json:"model"`
	Content      []AnthropicBlock `json:"content"`
	StopReason   *string          `json:"stop_reason"`   // end_turn, max_tokens, stop_sequence or tool_use; null in message_start
	StopSequence *string          `json:"stop_sequence"` // the one that ended the answer, or null
	Usage        AnthropicUsage   `json:"usage"`
	Session      *SessionResult   `json:"session,omitempty"` // extension
}

// AnthropicBlock is a part of a message: text, a call of a tool, or what the model
// has thought before.
type AnthropicBlock struct {
	Type  string          `json:"type"`            // text, tool_use or thinking
	Text  *string         `json:"text,omitempty"`  // of text
	ID    string          `json:"id,omitempty"`    // of tool_use
	Name  string          `json:"name,omitempty"`  // of tool_use
	Input json.RawMessage `json:"input,omitempty"` // of tool_use: an object

	Thinking  *string `json:"thinking,omitempty"`  // of thinking
	Signature *string `json:"signature,omitempty"` // of thinking: always ""
}

// AnthropicUsage counts tokens. InputTokens are those that had to be computed.
type AnthropicUsage struct {
	InputTokens   int `json:"input_tokens"`
	CacheCreation int `json:"cache_creation_input_tokens"` // always 0: nothing is billed here
	CacheRead     int `json:"cache_read_input_tokens"`
	OutputTokens  int `json:"output_tokens"`
}

// AnthropicEvent is one event of a stream; its type tells which fields are there.
type AnthropicEvent struct {
	Type    string            `json:"type"`
	Message *AnthropicMessage `json:"message,omitempty"`       // message_start
	Index   *int              `json:"index,omitempty"`         // content_block_…
	Block   *AnthropicBlock   `json:"content_block,omitempty"` // content_block_start
	Delta   any               `json:"delta,omitempty"`         // content_block_delta, message_delta
	Usage   *AnthropicUsage   `json:"usage,omitempty"`         // message_delta
	Session *SessionResult    `json:"session,omitempty"`       // message_delta; extension
}

// AnthropicDelta adds to a block.
type AnthropicDelta struct {
	Type        string  `json:"type"` // text_delta, input_json_delta or thinking_delta
	Text        *string `json:"text,omitempty"`
	PartialJSON *string `json:"partial_json,omitempty"`
	Thinking    *string `json:"thinking,omitempty"`
}

// AnthropicStop closes a message.
type AnthropicStop struct {
	StopReason   string  `json:"stop_reason"`
	StopSequence *string `json:"stop_sequence"`
}

// AnthropicTokens is the answer of POST /v1/messages/count_tokens.
type AnthropicTokens struct {
	InputTokens int `json:"input_tokens"`
}

// AnthropicError is the body of every error of these routes, and the last event
// of a stream that failed.
type AnthropicError struct {
	Type      string               `json:"type"` // "error"
	Error     AnthropicErrorDetail `json:"error"`
	RequestID string               `json:"request_id,omitempty"`
}

// AnthropicErrorDetail says what is wrong.
type AnthropicErrorDetail struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}
