package ipc

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"edged/ipc/api"
)

// handleEmbeddings answers POST /v1/embeddings.
func (s *Server) handleEmbeddings(w *response, r *http.Request) error {
	j, release, err := decode(s, w, r, decodeEmbeddings)
	if err != nil {
		return err
	}
	defer release()
	if j.req.Model, err = s.resolveModel(r.Context(), j.req.Model); err != nil {
		return err
	}
	j.req.ID, j.req.UID, j.req.Client = "embd-"+s.newID(), peerOf(r.Context()), clientOf(r.Context(), j.user)
	ctx, cancel := s.limited(r.Context())
	defer cancel()
	began := time.Now()
	res, err := s.engine.Embed(ctx, &j.req, release)
	if err == nil && len(res.Vectors) != len(j.req.Inputs) {
		err = fmt.Errorf("engine gave %d vectors for %d inputs", len(res.Vectors), len(j.req.Inputs))
	}
	err = explain(ctx, err, "input")
	s.log.Info("ipc: embeddings", "request", w.id, "id", j.req.ID, "model", j.req.Model, "inputs", len(j.req.Inputs),
		"tokens", res.Tokens, "took", time.Since(began).Round(time.Millisecond), "outcome", outcomeOf(r.Context(), err))
	if err != nil {
		return err
	}
	if err := writeEmbeddings(w, j, res); err != nil {
		s.log.Debug("ipc: write embeddings", "request", w.id, "err", err)
	}
	return nil
}

// writeEmbeddings sends one vector after the other: all of them may be far larger
// than what was asked.
func writeEmbeddings(w *response, j *embeddingsJob, res Embeddings) error {
	tail, err := marshal(struct {
		Model string             `json:"model"`
		Usage api.EmbeddingUsage `json:"usage"`
	}{j.req.Model, api.EmbeddingUsage{PromptTokens: res.Tokens, TotalTokens: res.Tokens}})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	out := []byte(`{"object":"list","data":[`)
	for i, v := range res.Vectors {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, `{"object":"embedding","index":`...)
		out = strconv.AppendInt(out, int64(i), 10)
		out = append(out, `,"embedding":`...)
		if j.base64 {
			out = appendBase64(out, v)
		} else {
			out = appendFloats(out, v)
		}
		out = append(out, '}')
		w.ctl.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := w.Write(out); err != nil {
			return fmt.Errorf("write vector %d: %w", i, err)
		}
		out = out[:0]
	}
	out = append(append(append(out, "],"...), tail[1:]...), '\n')
	if _, err := w.Write(out); err != nil {
		return fmt.Errorf("write usage: %w", err)
	}
	return nil
}

// appendFloats writes the shortest digits that give the same float32.
func appendFloats(out []byte, v []float32) []byte {
	out = append(out, '[')
	for i, x := range v {
		if i > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendFloat(out, float64(x), 'g', -1, 32)
	}
	return append(out, ']')
}

// appendBase64 writes float32 in little-endian order.
func appendBase64(out []byte, v []float32) []byte {
	raw := make([]byte, 0, 4*len(v))
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
	}
	return append(base64.StdEncoding.AppendEncode(append(out, '"'), raw), '"')
}
