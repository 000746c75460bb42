package client

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"net/http"

	"edged/ipc/api"
)

// Embeddings are the vectors of texts, each of length 1.
type Embeddings struct {
	Model   string
	Vectors [][]float32 // [inputs]
	Usage   api.EmbeddingUsage
}

// Embed returns the vectors of texts, of a model ("" = the daemon's default) whose
// first dimensions may do; 0 keeps all.
func (c *Client) Embed(ctx context.Context, model string, dimensions int, texts ...string) (Embeddings, error) {
	var list api.EmbeddingList
	// Base64 is shorter than digits, and has their bits.
	req := api.EmbeddingRequest{Model: model, Input: texts, Dimensions: dimensions, EncodingFormat: "base64"}
	if err := c.call(ctx, http.MethodPost, "/v1/embeddings", req, &list); err != nil {
		return Embeddings{}, err
	}
	out := Embeddings{Model: list.Model, Usage: list.Usage, Vectors: make([][]float32, len(texts))}
	for _, d := range list.Data {
		if d.Index < 0 || d.Index >= len(texts) {
			return Embeddings{}, fmt.Errorf("decode vectors: there is one for input %d of %d", d.Index, len(texts))
		}
		v, err := decodeVector(d.Embedding)
		if err != nil {
			return Embeddings{}, fmt.Errorf("decode vector %d: %w", d.Index, err)
		}
		out.Vectors[d.Index] = v
	}
	return out, nil
}

func decodeVector(raw json.RawMessage) ([]float32, error) {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return nil, err
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	v := make([]float32, len(data)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return v, nil
}
