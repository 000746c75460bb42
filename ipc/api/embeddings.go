package api

import "encoding/json"

// EmbeddingRequest is the body of POST /v1/embeddings.
type EmbeddingRequest struct {
	Model          string `json:"model,omitempty"` // "" = the daemon's default model
	Input          any    `json:"input"`           // string, []string, []int32 or [][]int32
	Dimensions     int    `json:"dimensions,omitempty"`
	EncodingFormat string `json:"encoding_format,omitempty"` // float or base64
	User           string `json:"user,omitempty"`
}

// EmbeddingList is the answer of POST /v1/embeddings.
type EmbeddingList struct {
	Object string         `json:"object"` // "list"
	Data   []Embedding    `json:"data"`
	Model  string         `json:"model"`
	Usage  EmbeddingUsage `json:"usage"`
}

// Embedding is the vector of one input: an array of numbers, or with
// encoding_format "base64" a string of little-endian float32.
type Embedding struct {
	Object    string          `json:"object"` // "embedding"
	Index     int             `json:"index"`  // of the input
	Embedding json.RawMessage `json:"embedding"`
}

// EmbeddingUsage counts the tokens of all inputs.
type EmbeddingUsage struct {
	PromptTokens int `json:"prompt_tokens"`
	TotalTokens  int `json:"total_tokens"`
}
