package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"edged/infer"
	"edged/infer/calibrate"
	"edged/infer/eval/task"
	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/infer/model"
	"edged/infer/tok"
)

// CalibrationThreshold is the paper's, the same for all models.
const CalibrationThreshold = calibrate.Threshold

// defaultCalibrationTok is how long a text is enough: longer ones change the
// order of layers little.
const defaultCalibrationTok = 8192

// Calibration says what a model's layers are scored on.
type Calibration struct {
	Text      string // "" is prose that is built in
	Tokens    int    // 0: what the text and the model's context give, up to 8192
	Threshold float64
	Progress  func(done, total int) // layers
}

// CalibrationReport says which layers need all of their tokens.
type CalibrationReport struct {
	Path      string            `json:"path"`
	Tokens    int               `json:"tokens"`
	Threshold float64           `json:"threshold"`
	Layers    []calibrate.Score `json:"layers"`
	Dense     []int             `json:"dense"`
}

// Calibrate scores the layers of a model on a text.
func (e Evaluation) Calibrate(ctx context.Context, c Calibration) (*CalibrationReport, error) {
	path, err := e.Paths.ModelFile(e.Model)
	if err != nil {
		return nil, err
	}
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := e.calibrate(ctx, c, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("calibrate %s: %w", path, err)
	}
	r.Path = path
	return r, nil
}

func (e Evaluation) calibrate(ctx context.Context, c Calibration, f *gguf.File) (r *CalibrationReport, err error) {
	prog, err := model.Build(f)
	if err != nil {
		return nil, err
	}
	tokens, err := c.tokens(f, prog)
	if err != nil {
		return nil, err
	}
	cfg := calibrate.Config{ChunkTok: infer.DefaultChunkTok, Threads: e.threads(), Progress: c.Progress}
	host, err := readHostMemory()
	if err != nil {
		return nil, err
	}
	if cfg.HostBytes, err = hostBudget(0, host); err != nil {
		return nil, err
	}
	if cfg.Backend, err = infer.NewBackend(e.Backend); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, cfg.Backend.Close()) }()
	scores, err := calibrate.Scores(ctx, prog, tokens, cfg)
	if err != nil {
		return nil, err
	}
	return &CalibrationReport{Tokens: len(tokens), Threshold: c.Threshold, Layers: scores, Dense: calibrate.Dense(scores, c.Threshold)}, nil
}

// tokens are the begin of the text.
func (c Calibration) tokens(f *gguf.File, prog *graph.Program) ([]int32, error) {
	t, err := tok.FromMetadata(f)
	if err != nil {
		return nil, err
	}
	text := c.Text
	if text == "" {
		text = task.Prose()
	}
	tokens := t.Encode(t.AppendBOS(nil), text)
	n := c.Tokens
	if n == 0 {
		n = min(len(tokens), prog.Context, defaultCalibrationTok)
	}
	if n > len(tokens) || n > prog.Context {
		return nil, fmt.Errorf("%d tokens are wanted: the text has %d, the model's context %d", n, len(tokens), prog.Context)
	}
	return tokens[:n], nil
}

// WriteTable writes columns that are separated by tabs.
func (r *CalibrationReport) WriteTable(w io.Writer) {
	fmt.Fprintf(w, "%s, %d tokens, threshold %g\n\nLAYER\tSCORE\t\n", r.Path, r.Tokens, r.Threshold)
	for _, s := range r.Layers {
		mark := ""
		if s.P > r.Threshold {
			mark = "dense"
		}
		fmt.Fprintf(w, "%d\t%.3f\t%s\n", s.Layer, s.P, mark)
	}
	fmt.Fprintf(w, "\ndense layers: %s\n", r.denseList())
}

// denseList is what --dense takes.
func (r *CalibrationReport) denseList() string {
	if len(r.Dense) == 0 {
		return "none"
	}
	var list []string
	for _, l := range r.Dense {
		list = append(list, strconv.Itoa(l))
	}
	return strings.Join(list, ",")
}
