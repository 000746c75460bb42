package api

// ChatRequest is the body of POST /v1/chat/completions.
type ChatRequest struct {
	Model     string    `json:"model,omitempty"` // "" = the daemon's default model
	Messages  []Message `json:"messages"`
	Session   string    `json:"session,omitempty"`   // id of a session that the messages continue
	Recompute bool      `json:"recompute,omitempty"` // compute the session again when what is stored cannot be used
	Options
	Logprobs           bool           `json:"logprobs,omitempty"`
	TopLogprobs        int            `json:"top_logprobs,omitempty"` // needs Logprobs
	ChatTemplateKwargs map[string]any `json:"chat_template_kwargs,omitempty"`
}

// Message is one turn of a conversation.
type Message struct {
	Role    string `json:"role"` // system, user, assistant
	Content string `json:"content"`
	Name    string `json:"name,omitempty"`
}

// CompletionRequest is the body of POST /v1/completions.
type CompletionRequest struct {
	Model  string `json:"model,omitempty"`
	Prompt any    `json:"prompt"` // string or []int32
	Options
	Logprobs *int `json:"logprobs,omitempty"` // alternatives per token; nil = none reported
	Echo     bool `json:"echo,omitempty"`
}

// Options are the fields that both completion requests share. Nil and zero
// values are not sent: the server's defaults apply.
type Options struct {
	MaxTokens        *int               `json:"max_tokens,omitempty"`
	Temperature      *float64           `json:"temperature,omitempty"`
	TopP             *float64           `json:"top_p,omitempty"`
	TopK             *int               `json:"top_k,omitempty"`
	MinP             *float64           `json:"min_p,omitempty"`
	TypicalP         *float64           `json:"typical_p,omitempty"`
	RepeatPenalty    *float64           `json:"repeat_penalty,omitempty"`
	RepeatLastN      *int               `json:"repeat_last_n,omitempty"`
	PresencePenalty  *float64           `json:"presence_penalty,omitempty"`
	FrequencyPenalty *float64           `json:"frequency_penalty,omitempty"`
	Seed             *int64             `json:"seed,omitempty"`
	LogitBias        map[string]float64 `json:"logit_bias,omitempty"` // decimal token id to bias
	Stop             []string           `json:"stop,omitempty"`
	User             string             `json:"user,omitempty"`           // whom the client asks for
	Stream           bool               `json:"stream,omitempty"`         // set by the client package
	StreamOptions    *StreamOptions     `json:"stream_options,omitempty"` // set by the client package
}

// StreamOptions ask for chunks beyond the answer itself.
type StreamOptions struct {
	IncludeUsage    bool `json:"include_usage,omitempty"`
	IncludeProgress bool `json:"include_progress,omitempty"` // extension: prefill progress
	IncludeReach    bool `json:"include_reach,omitempty"`    // extension: which tokens were attended to
}

// TokenizeRequest is the body of POST /tokenize.
type TokenizeRequest struct {
	Model        string `json:"model,omitempty"`
	Content      string `json:"content"`
	AddSpecial   bool   `json:"add_special"`
	ParseSpecial bool   `json:"parse_special"`
	WithPieces   bool   `json:"with_pieces"`
}

// DetokenizeRequest is the body of POST /detokenize.
type DetokenizeRequest struct {
	Model  string  `json:"model,omitempty"`
	Tokens []int32 `json:"tokens"`
}
