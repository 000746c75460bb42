package api

// ChatCompletion is the complete answer of /v1/chat/completions.
type ChatCompletion struct {
	ID      string         `json:"id"`
	Object  string         `json:"object"`  // "chat.completion"
	Created int64          `json:"created"` // Unix seconds
	Model   string         `json:"model"`
	Choices []ChatChoice   `json:"choices"`
	Usage   Usage          `json:"usage"`
	Timings Timings        `json:"timings"`
	Session *SessionResult `json:"session,omitempty"` // of the session that the request named
}

// ChatChoice is the one choice of a ChatCompletion.
type ChatChoice struct {
	Index        int           `json:"index"`
	Message      ChatMessage   `json:"message"`
	Logprobs     *ChatLogprobs `json:"logprobs"`
	FinishReason string        `json:"finish_reason"`
}

// ChatMessage is the assistant's turn.
type ChatMessage struct {
	Role    string  `json:"role"`
	Content *string `json:"content"` // null when tools are called and nothing is said
	Refusal *string `json:"refusal"` // always null; clients require the key

	ReasoningContent string     `json:"reasoning_content,omitempty"` // what the model has thought first; DeepSeek's name
	ToolCalls        []ToolCall `json:"tool_calls,omitempty"`
}

// ToolCall is a call of a function, or a piece of it in a stream.
type ToolCall struct {
	Index    *int         `json:"index,omitempty"` // in a stream
	ID       string       `json:"id,omitempty"`    // in the first piece
	Type     string       `json:"type,omitempty"`  // "function", in the first piece
	Function FunctionCall `json:"function"`
}

// FunctionCall names a function and its arguments.
type FunctionCall struct {
	Name      string `json:"name,omitempty"` // in the first piece
	Arguments string `json:"arguments"`      // JSON, or a piece of it
}

// ChatChunk is one event of a streamed chat answer.
type ChatChunk struct {
	ID       string            `json:"id"`
	Object   string            `json:"object"` // "chat.completion.chunk"
	Created  int64             `json:"created"`
	Model    string            `json:"model"`
	Choices  []ChatChunkChoice `json:"choices"` // empty in usage and progress chunks
	Usage    *Usage            `json:"usage,omitempty"`
	Timings  *Timings          `json:"timings,omitempty"` // beside Usage
	Progress *Progress         `json:"progress,omitempty"`
	Session  *SessionResult    `json:"session,omitempty"` // beside the finish reason
	Reach    *Reach            `json:"reach,omitempty"`   // beside the finish reason; extension
}

// ChatChunkChoice holds the part of the answer that a chunk adds.
type ChatChunkChoice struct {
	Index        int           `json:"index"`
	Delta        ChatDelta     `json:"delta"`
	Logprobs     *ChatLogprobs `json:"logprobs,omitempty"`
	FinishReason *string       `json:"finish_reason"`
}

// ChatDelta is empty in the chunk that carries the finish reason.
type ChatDelta struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`

	ReasoningContent string     `json:"reasoning_content,omitempty"`
	ToolCalls        []ToolCall `json:"tool_calls,omitempty"`
}

// ChatLogprobs lists the tokens behind a message or delta.
type ChatLogprobs struct {
	Content []TokenLogprob `json:"content"`
	Refusal []TokenLogprob `json:"refusal"` // always null
}

// TokenLogprob is a generated token and its alternatives.
type TokenLogprob struct {
	ID          int32        `json:"id"` // extension
	Token       string       `json:"token"`
	Logprob     float64      `json:"logprob"` // natural log; -9999 stands for minus infinity
	Bytes       []int        `json:"bytes"`
	TopLogprobs []TopLogprob `json:"top_logprobs"`
}

// TopLogprob is one alternative at a position.
type TopLogprob struct {
	ID      int32   `json:"id"` // extension
	Token   string  `json:"token"`
	Logprob float64 `json:"logprob"`
	Bytes   []int   `json:"bytes"`
}

// Completion is the answer of /v1/completions, and each of its stream events.
type Completion struct {
	ID       string             `json:"id"`
	Object   string             `json:"object"` // "text_completion"
	Created  int64              `json:"created"`
	Model    string             `json:"model"`
	Choices  []CompletionChoice `json:"choices"`
	Usage    *Usage             `json:"usage,omitempty"`
	Timings  *Timings           `json:"timings,omitempty"`
	Progress *Progress          `json:"progress,omitempty"`
}

// CompletionChoice is the one choice of a Completion.
type CompletionChoice struct {
	Index        int                 `json:"index"`
	Text         string              `json:"text"`
	Logprobs     *CompletionLogprobs `json:"logprobs"`
	FinishReason *string             `json:"finish_reason"`
}

// CompletionLogprobs are parallel lists, one element per token.
type CompletionLogprobs struct {
	Tokens        []string             `json:"tokens"`
	TokenLogprobs []float64            `json:"token_logprobs"`
	TopLogprobs   []map[string]float64 `json:"top_logprobs"` // null without alternatives
	TextOffset    []int                `json:"text_offset"`  // code points from the start of the text
}

// Usage counts tokens.
type Usage struct {
	PromptTokens        int                 `json:"prompt_tokens"`
	CompletionTokens    int                 `json:"completion_tokens"`
	TotalTokens         int                 `json:"total_tokens"`
	PromptTokensDetails PromptTokensDetails `json:"prompt_tokens_details"`

	CompletionTokensDetails *OutputTokensDetails `json:"completion_tokens_details,omitempty"` // of answers with a thought
}

// PromptTokensDetails tells how much of the prompt was not computed again.
type PromptTokensDetails struct {
	CachedTokens int `json:"cached_tokens"`
}

// Timings has the names that llama-server uses. Rates are 0 when no time was measured.
type Timings struct {
	CacheN             int     `json:"cache_n"`              // prompt tokens from the cache
	RestoredN          int     `json:"restored_n,omitempty"` // of these, read from a stored session; extension
	RestoreMS          float64 `json:"restore_ms,omitempty"` // extension
	PromptN            int     `json:"prompt_n"`             // prompt tokens computed
	PromptMS           float64 `json:"prompt_ms"`
	PromptPerSecond    float64 `json:"prompt_per_second"`
	PredictedN         int     `json:"predicted_n"`
	PredictedMS        float64 `json:"predicted_ms"`
	PredictedPerSecond float64 `json:"predicted_per_second"`
}

// Reach says which tokens the last step of an answer attended to.
type Reach struct {
	Tokens int       `json:"tokens"` // of the prompt and the answer
	Layers int       `json:"layers"` // of the model
	Sparse int       `json:"sparse"` // of them, those that attend to chosen tokens
	Share  []float32 `json:"share"`  // of each of equal spans, the part that a head attended to in the mean; null without sparse layers
}

// Progress counts prompt tokens during prefill.
type Progress struct {
	Done   int `json:"done"`
	Total  int `json:"total"`
	Cached int `json:"cached"`
}
