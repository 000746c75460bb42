package calibrate

import (
	"context"
	"errors"
	"fmt"
	"math"

	"edged/infer/graph"
)

// Constants of the paper: the number of a prompt's last queries, the share of
// tokens that counts as dominant, and the score above which a layer keeps all
// of its tokens.
const (
	Queries   = 32
	TopShare  = 0.05
	Threshold = 0.2
)

// MinTok is the shortest prompt that is scored. Below, 5 % are hardly a token.
const MinTok = 128

// Config says what to run on.
type Config struct {
	Backend   graph.Backend
	ChunkTok  int // most tokens of one step, at least Queries
	Threads   int
	HostBytes int64                 // of memory; 0 is no limit
	Progress  func(done, total int) // layers; may be nil
}

// Score is the dense preference score of one layer.
type Score struct {
	Layer int     `json:"layer"`
	P     float64 `json:"p"` // 0: a few tokens hold all attention; 1 - TopShare: all are equal
}

// Scores reads tokens as a prompt and scores every layer that sees all of
// them. Layers with a sliding window are left out: they keep only that.
func Scores(ctx context.Context, prog *graph.Program, tok []int32, cfg Config) ([]Score, error) {
	if len(tok) < MinTok || cfg.ChunkTok < Queries {
		return nil, fmt.Errorf("score layers: %d tokens in chunks of %d, at least %d in chunks of %d are needed", len(tok), cfg.ChunkTok, MinTok, Queries)
	}
	r, err := newReader(prog, tok, cfg)
	if err != nil {
		return nil, fmt.Errorf("score layers: %w", err)
	}
	scores, err := r.scores(ctx)
	if err = errors.Join(err, r.close()); err != nil {
		return nil, fmt.Errorf("score layers: %w", err)
	}
	return scores, nil
}

func (r *reader) scores(ctx context.Context) ([]Score, error) {
	var scores []Score
	if err := r.seq.BeginPrefill(len(r.tok)); err != nil {
		return nil, err
	}
	for l, spec := range r.prog.KV {
		if r.cfg.Progress != nil {
			r.cfg.Progress(l, len(r.prog.KV))
		}
		if err := r.layer(ctx, l); err != nil {
			return nil, fmt.Errorf("layer %d: %w", l, err)
		}
		if spec.Window > 0 {
			continue
		}
		p := 1 - r.topMass(l)
		if math.IsNaN(p) {
			return nil, fmt.Errorf("layer %d: attention is not finite", l)
		}
		scores = append(scores, Score{Layer: l, P: p})
	}
	return scores, nil
}

// Dense lists the layers whose score is above the threshold; it is never nil.
func Dense(scores []Score, threshold float64) []int {
	layers := []int{}
	for _, s := range scores {
		if s.P > threshold {
			layers = append(layers, s.Layer)
		}
	}
	return layers
}
