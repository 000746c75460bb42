package api

import "encoding/json"

// ModelList is the answer of GET /v1/models.
type ModelList struct {
	Object string  `json:"object"` // "list"
	Data   []Model `json:"data"`
}

// Model is one entry of ModelList and the answer of GET /v1/models/{id}.
type Model struct {
	ID          string    `json:"id"`
	Object      string    `json:"object"` // "model"
	Created     int64     `json:"created"`
	OwnedBy     string    `json:"owned_by"`
	MaxModelLen int       `json:"max_model_len,omitempty"` // served context, tokens
	Loaded      bool      `json:"loaded"`
	Meta        ModelMeta `json:"meta"`
}

// ModelMeta has the names that llama-server uses.
type ModelMeta struct {
	NVocab    int   `json:"n_vocab,omitempty"`
	NCtxTrain int   `json:"n_ctx_train,omitempty"`
	NParams   int64 `json:"n_params,omitempty"`
	Size      int64 `json:"size,omitempty"` // bytes
}

// TokenizeResponse is the answer of POST /tokenize. Tokens is an array of
// numbers, or of TokenPiece when with_pieces was set.
type TokenizeResponse struct {
	Tokens json.RawMessage `json:"tokens"`
}

// TokenPiece is a token with its text. Piece is a string, or an array of byte
// values when the piece is not valid UTF-8.
type TokenPiece struct {
	ID    int32           `json:"id"`
	Piece json.RawMessage `json:"piece"`
}

// DetokenizeResponse is the answer of POST /detokenize.
type DetokenizeResponse struct {
	Content string `json:"content"`
}

// Health is the answer of GET /healthz and GET /readyz.
type Health struct {
	Status string `json:"status"` // "ok", or the engine's state
	Text   string `json:"text,omitempty"`

	Conditions []Condition `json:"conditions,omitzero"` // of GET /healthz?verbose
}

// ErrorResponse is the body of every error, and the last event of a stream that failed.
type ErrorResponse struct {
	Error ErrorDetail `json:"error"`
}

// ErrorDetail is OpenAI's error object. Param and Code are strings or null.
type ErrorDetail struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`

	NPromptTokens int `json:"n_prompt_tokens,omitempty"` // with context_length_exceeded
	NCtx          int `json:"n_ctx,omitempty"`
}
