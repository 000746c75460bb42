package eval

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
)

// ErrGoldenFile is wrapped by the errors of golden files that are malformed.
var ErrGoldenFile = errors.New("golden file is malformed")

// maxGoldenBytes bounds a golden file; files of a few sequences take 100 KB.
const maxGoldenBytes = 64 << 20

// vectors is a golden file: what an independent implementation computed for
// sequences of tokens.
type vectors struct {
	Model     string                    `json:"model"`
	MadeBy    string                    `json:"made_by"`
	Sequences map[string]vectorSequence `json:"sequences"`
}

// vectorSequence holds one sequence's outputs at each of its nTok positions.
type vectorSequence struct {
	Tokens []int32     `json:"tokens"` // [nTok]
	LSE    []float64   `json:"lse"`    // [nTok] log of the sum of exp over all logits
	Argmax []int32     `json:"argmax"` // [nTok] id of the largest logit
	NLL    []float64   `json:"nll"`    // [nTok-1] -log p of the next token, nats
	Top    []vectorTop `json:"top"`    // ascending positions
}

// vectorTop lists the largest logits at one position.
type vectorTop struct {
	Pos    int       `json:"pos"`
	IDs    []int32   `json:"ids"`
	Logits []float64 `json:"logits"`
}

func readVectors(path string) (*vectors, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read golden file: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxGoldenBytes+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read golden file: %w", err)
	}
	if len(data) > maxGoldenBytes {
		return nil, fmt.Errorf("read golden file %s: %w: more than %d bytes", path, ErrGoldenFile, maxGoldenBytes)
	}
	v, err := parseVectors(data)
	if err != nil {
		return nil, fmt.Errorf("read golden file %s: %w", path, err)
	}
	return v, nil
}

// GoldenModel is the name of the model that a golden file was made with: that
// of its file without .gguf.
func GoldenModel(path string) (string, error) {
	v, err := readVectors(path)
	if err != nil {
		return "", err
	}
	if v.Model == "" {
		return "", fmt.Errorf("read golden file %s: it names no model, so one must be given", path)
	}
	return strings.TrimSuffix(v.Model, ".gguf"), nil
}

func parseVectors(data []byte) (*vectors, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var v vectors
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGoldenFile, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: more data after the vectors", ErrGoldenFile)
	}
	if len(v.Sequences) == 0 {
		return nil, fmt.Errorf("%w: no sequences", ErrGoldenFile)
	}
	for _, name := range v.names() {
		if err := v.Sequences[name].check(); err != nil {
			return nil, fmt.Errorf("%w: sequence %q: %w", ErrGoldenFile, name, err)
		}
	}
	return &v, nil
}

// names lists the sequences in a fixed order.
func (v *vectors) names() []string { return slices.Sorted(maps.Keys(v.Sequences)) }

func (s vectorSequence) check() error {
	n := len(s.Tokens)
	if n == 0 {
		return errors.New("no tokens")
	}
	if len(s.LSE) != n || len(s.Argmax) != n || len(s.NLL) != n-1 {
		return fmt.Errorf("%d tokens with %d lse, %d argmax and %d nll; want %d, %d and %d", n, len(s.LSE), len(s.Argmax), len(s.NLL), n, n, n-1)
	}
	if i := slices.IndexFunc(s.Tokens, negative); i >= 0 {
		return fmt.Errorf("token %d is %d", i, s.Tokens[i])
	}
	if i := slices.IndexFunc(s.Argmax, negative); i >= 0 {
		return fmt.Errorf("argmax %d is token %d", i, s.Argmax[i])
	}
	if len(s.Top) == 0 {
		return errors.New("no position with logits")
	}
	for i, t := range s.Top {
		if t.Pos < 0 || t.Pos >= n || i > 0 && t.Pos <= s.Top[i-1].Pos {
			return fmt.Errorf("top %d is at position %d of %d, or not after the one before", i, t.Pos, n)
		}
		if err := t.check(s.LSE[t.Pos]); err != nil {
			return fmt.Errorf("position %d: %w", t.Pos, err)
		}
	}
	return nil
}

func (t vectorTop) check(lse float64) error {
	if len(t.IDs) == 0 || len(t.IDs) != len(t.Logits) {
		return fmt.Errorf("%d ids with %d logits", len(t.IDs), len(t.Logits))
	}
	sorted := slices.Sorted(slices.Values(t.IDs))
	if sorted[0] < 0 {
		return fmt.Errorf("token %d", sorted[0])
	}
	if len(slices.Compact(sorted)) != len(t.IDs) {
		return errors.New("a token is listed twice")
	}
	var sum float64
	for _, l := range t.Logits {
		sum += math.Exp(l - lse)
	}
	if sum > 1+10*goldenRounding {
		return fmt.Errorf("listed probabilities add up to %g", sum)
	}
	return nil
}

func negative(id int32) bool { return id < 0 }
