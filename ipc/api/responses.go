package api

import "encoding/json"

// Response is the answer of POST and GET /v1/responses, and part of the events
// of its streams.
type Response struct {
	ID                string              `json:"id"`
	Object            string              `json:"object"` // "response"
	CreatedAt         int64               `json:"created_at"`
	Status            string              `json:"status"` // in_progress, completed, incomplete or failed
	Error             *ResponseError      `json:"error"`
	IncompleteDetails *ResponseIncomplete `json:"incomplete_details"`
	Model             string              `json:"model"`
	Output            []ResponseItem      `json:"output"`
	Store             bool                `json:"store"`
	Truncation        string              `json:"truncation"` // "disabled"
	Usage             *ResponseUsage      `json:"usage"`
	ResponseEcho
	Session *SessionResult `json:"session,omitempty"` // where it is stored; extension
}

// ResponseEcho is what a response repeats of its request.
type ResponseEcho struct {
	Instructions       *string         `json:"instructions"`
	MaxOutputTokens    *int            `json:"max_output_tokens"`
	Metadata           json.RawMessage `json:"metadata"`
	ParallelToolCalls  bool            `json:"parallel_tool_calls"`
	PreviousResponseID *string         `json:"previous_response_id"`
	Temperature        *float64        `json:"temperature"`
	Text               json.RawMessage `json:"text"`
	ToolChoice         json.RawMessage `json:"tool_choice"`
	Tools              json.RawMessage `json:"tools"`
	TopP               *float64        `json:"top_p"`
}

// ResponseError says why a response has failed.
type ResponseError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// ResponseIncomplete says why a response is cut off.
type ResponseIncomplete struct {
	Reason string `json:"reason"` // "max_output_tokens"
}

// ResponseItem is a message, a call of a function, or what the model has thought
// before.
type ResponseItem struct {
	ID        string          `json:"id"`
	Type      string          `json:"type"` // message, function_call or reasoning
	Status    string          `json:"status"`
	Role      string          `json:"role,omitempty"`    // message
	Content   *[]ResponsePart `json:"content,omitempty"` // message and reasoning
	Summary   *[]ResponsePart `json:"summary,omitempty"` // reasoning: always empty
	CallID    string          `json:"call_id,omitempty"` // function_call, as the others
	Name      string          `json:"name,omitempty"`
	Arguments *string         `json:"arguments,omitempty"`
}

// ResponsePart is text of a message or of a thought.
type ResponsePart struct {
	Type        string `json:"type"` // output_text or reasoning_text
	Text        string `json:"text"`
	Annotations []int  `json:"annotations,omitzero"` // of a message: always empty, as Logprobs
	Logprobs    []int  `json:"logprobs,omitzero"`
}

// ResponseUsage counts tokens.
type ResponseUsage struct {
	InputTokens         int                 `json:"input_tokens"`
	InputTokensDetails  PromptTokensDetails `json:"input_tokens_details"`
	OutputTokens        int                 `json:"output_tokens"`
	OutputTokensDetails OutputTokensDetails `json:"output_tokens_details"`
	TotalTokens         int                 `json:"total_tokens"`
}

// OutputTokensDetails counts the tokens of the model's thought.
type OutputTokensDetails struct {
	ReasoningTokens int `json:"reasoning_tokens"`
}

// ResponseEvent is one event of a stream; its type tells which fields are there.
type ResponseEvent struct {
	Type           string        `json:"type"`
	SequenceNumber int           `json:"sequence_number"`
	Response       *Response     `json:"response,omitempty"`
	Item           *ResponseItem `json:"item,omitempty"`
	Part           *ResponsePart `json:"part,omitempty"`
	ItemID         string        `json:"item_id,omitempty"`
	OutputIndex    *int          `json:"output_index,omitempty"`
	ContentIndex   *int          `json:"content_index,omitempty"`
	Delta          *string       `json:"delta,omitempty"`
	Text           *string       `json:"text,omitempty"`
	Name           string        `json:"name,omitempty"`
	Arguments      *string       `json:"arguments,omitempty"`
	Logprobs       *[]int        `json:"logprobs,omitempty"` // always empty
}

// ResponseDeleted is the answer of DELETE /v1/responses/{id}.
type ResponseDeleted struct {
	ID      string `json:"id"`
	Object  string `json:"object"` // "response"
	Deleted bool   `json:"deleted"`
}
