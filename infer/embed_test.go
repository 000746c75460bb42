package infer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/infer/model"
	"edged/infer/tok"
	"edged/offload"
)

// toyVector is the mean of the toy's states over ids, of length 1.
func toyVector(ids []int32) []float32 {
	var sum [toyWidth]float64
	var row [toyWidth]float32
	state, square := uint64(0), 0.0
	for _, id := range ids {
		state = toyMix(state, id)
		toyState(row[:], state)
		for c, v := range row {
			sum[c] += float64(v)
		}
	}
	for _, v := range sum {
		square += v * v
	}
	out := make([]float32, toyWidth)
	for c, v := range sum {
		out[c] = float32(v / math.Sqrt(square))
	}
	return out
}

// submitEmbedding submits a request for the vectors of inputs.
func (m *machine) submitEmbedding(t rapid.TB, owner uint32, inputs ...[]int32) *call {
	req := &EmbedRequest{Owner: owner}
	c := &call{}
	for _, ids := range inputs {
		req.Inputs = append(req.Inputs, *prompt(ids...))
		c.vectors = append(c.vectors, toyVector(ids))
	}
	task, err := m.e.prepareEmbedding(m.f, "toy", req)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.e.submit(task); errors.Is(err, ErrBusy) {
		return nil
	} else if err != nil {
		t.Fatal(err)
	}
	c.t = task
	m.calls = append(m.calls, c)
	return c
}

// goldenStates are made by model/testdata/make_states.py.
type goldenStates struct {
	Tokens          []int32
	Mean, CLS, Last []float32
}

// TestGoldenEmbeddings compares with transformers, through the whole engine, past
// windows and past the contexts that rope scaling extends.
func TestGoldenEmbeddings(t *testing.T) {
	paths, err := filepath.Glob("model/testdata/tiny-*.gguf")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no tiny models: %v", err)
	}
	for _, path := range paths {
		for backend, tolerance := range map[string]float64{"ref": 1e-3, "cpu": 1e-3} { // the cache is float16
			t.Run(filepath.Base(path)+"/"+backend, func(t *testing.T) { checkGoldenEmbeddings(t, path, backend, tolerance) })
		}
	}
}

func checkGoldenEmbeddings(t *testing.T, path, backend string, tolerance float64) {
	raw, err := os.ReadFile(strings.TrimSuffix(strings.Replace(path, "tiny-", "states-", 1), ".gguf") + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var want goldenStates
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Backend: backend, Threads: 1, ChunkTok: 20, HostBytes: 1 << 28}
	vectors := map[model.Pooling][]float32{model.PoolMean: want.Mean, model.PoolCLS: want.CLS, model.PoolLast: want.Last}
	for pooling := range vectors {
		cfg.Models = append(cfg.Models, ModelConfig{Name: pooling.String(), Path: pooling.String(), Policy: "full"})
	}
	cfg.AllowSwitch = true
	e, err := newEngine(cfg, func(name string) (*modelFile, error) { return openTiny(path, name) }, NewBackend)
	if err != nil {
		t.Fatal(err)
	}
	go e.owner.run()
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	for pooling, vector := range vectors {
		got, err := e.Embed(t.Context(), &EmbedRequest{Model: pooling.String(), Inputs: []Prompt{*prompt(want.Tokens...), *prompt(want.Tokens[:7]...)}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(vector, got.Vectors[0], cmpopts.EquateApprox(0, tolerance)); diff != "" || got.Tokens != len(want.Tokens)+7 {
			t.Errorf("%s of %d tokens (-want +got):\n%s", pooling, got.Tokens, diff)
		}
		if same := cmp.Equal(got.Vectors[0], got.Vectors[1]); same != (pooling == model.PoolCLS) {
			t.Errorf("%s of a beginning and of the whole are the same: %v", pooling, same)
		}
	}
}

// bytesOnly is the toy's tokenizer without a begin of text, which is no token of the
// tiny models.
type bytesOnly struct{ toyMetadata }

func (bytesOnly) Uint(string) (uint64, bool) { return 0, false }
func (bytesOnly) Bool(string) (bool, bool)   { return false, false }

// openTiny opens a model without a tokenizer, to be pooled in the named way.
func openTiny(path, pooling string) (*modelFile, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	prog, err := model.Build(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	tk, err := tok.FromMetadata(bytesOnly{})
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	ft := &front{tok: tk, vocab: prog.Vocab, width: prog.Buffers[prog.States].Width, trainContext: prog.Context}
	for _, p := range []model.Pooling{model.PoolMean, model.PoolCLS, model.PoolLast} {
		if p.String() == pooling {
			ft.pooling = p
		}
	}
	return &modelFile{front: ft, prog: prog, close: f.Close, unchanged: f.Unchanged}, nil
}

// However the cache keeps tokens, an input is read exactly: its vector has the same
// bits, layer by layer or not.
func TestEmbeddingsDoNotDependOnTheCache(t *testing.T) {
	inputs := []Prompt{{Text: strings.Repeat("The access code of red-apple is 4711234. ", 60)}, {Text: "x"}, {Text: "A short one."}}
	var want [][]float32
	for _, m := range []ModelConfig{{Policy: "full"}, {Policy: "q8"}, {Policy: "auto", Cache: offload.Options{Sparse: true, Budget: 256}}} {
		m.Name, m.Path, m.Context = "needle", "../models/needle-26m-q8_0.gguf", 2048
		e, err := New(Config{Models: []ModelConfig{m}, ChunkTok: 100, Threads: 1, HostBytes: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Load(t.Context(), "", nil); err != nil {
			t.Fatal(err)
		}
		got, err := e.Embed(t.Context(), &EmbedRequest{Inputs: inputs}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if s := e.Status(); s.KeptSeqs != 0 {
			t.Errorf("%s: %d sequences are kept", m.Policy, s.KeptSeqs)
		}
		if want == nil {
			want = got.Vectors
		}
		if diff := cmp.Diff(want, got.Vectors); diff != "" {
			t.Errorf("%s (-full +got):\n%s", m.Policy, diff)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestEmbedInputs(t *testing.T) {
	e := startToy(t, toyConfig(), &toyBackend{})
	whole := longPrompt(1, toyContext) // nothing has to follow an input
	got, err := e.Embed(t.Context(), &EmbedRequest{Inputs: []Prompt{{Text: "ab"}, *prompt(whole...), {Text: "ab"}}}, nil)
	want := Embeddings{Model: "toy", Vectors: [][]float32{toyVector([]int32{toyBOS, toyAB}), toyVector(whole), toyVector([]int32{toyBOS, toyAB})}, Tokens: toyContext + 4}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	cut, err := e.Embed(t.Context(), &EmbedRequest{Inputs: []Prompt{{Text: "ab"}}, Dimensions: 2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	v := cut.Vectors[0]
	if length := math.Hypot(float64(v[0]), float64(v[1])); len(v) != 2 || math.Abs(length-1) > 1e-6 || math.Abs(float64(v[0]/v[1]-got.Vectors[0][0]/got.Vectors[0][1])) > 1e-5 {
		t.Errorf("two dimensions of %v are %v", got.Vectors[0], v)
	}
}

func TestEmbedRefuses(t *testing.T) {
	e := startToy(t, toyConfig(), &toyBackend{})
	many := make([]Prompt, 300)
	for i := range many {
		many[i] = *prompt(longPrompt(1, 1001)...)
	}
	for _, c := range []struct {
		name, want string
		req        EmbedRequest
		is         error
	}{
		{"no input", "input: must hold 1 to 2048 inputs, has 0", EmbedRequest{}, ErrInvalid},
		{"too many inputs", "has 2049", EmbedRequest{Inputs: make([]Prompt, 2049)}, ErrInvalid},
		{"too many tokens", "input: has more than 300000 tokens in its first 300 inputs", EmbedRequest{Inputs: many}, ErrInvalid},
		{"long input", "input 1 has 1025 tokens, but the context holds 1024", EmbedRequest{Inputs: []Prompt{*prompt(1), *prompt(longPrompt(1, toyContext+1)...)}}, ErrContext},
		{"bad token", "input[1]: token 0 is 261, the vocabulary has 261", EmbedRequest{Inputs: []Prompt{*prompt(1), *prompt(toyVocab)}}, ErrInvalid},
		{"negative dimensions", "must be from 1 to 4, the width of toy, got -1", EmbedRequest{Inputs: []Prompt{*prompt(1)}, Dimensions: -1}, ErrInvalid},
		{"dimensions", "dimensions: must be from 1 to 4, the width of toy, got 5", EmbedRequest{Inputs: []Prompt{*prompt(1)}, Dimensions: 5}, ErrInvalid},
		{"model", `"none" is not configured`, EmbedRequest{Model: "none", Inputs: []Prompt{*prompt(1)}}, ErrModelNotFound},
	} {
		if _, err := e.Embed(t.Context(), &c.req, nil); !errors.Is(err, c.is) || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	e.fronts["toy"].pooling = model.PoolRank
	if _, err := e.Embed(t.Context(), &EmbedRequest{Inputs: []Prompt{*prompt(1)}}, nil); err == nil || !strings.Contains(err.Error(), "pooling rank") {
		t.Errorf("a ranking model: %v", err)
	}
}

// A request that waits leaves when its caller does, and so does one that is read.
func TestEmbedIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gated{gate: make(chan struct{})}
		e := startToy(t, toyConfig(), g.backend())
		g.held.Store(true)
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("enough")
		var wg sync.WaitGroup
		for range 6 { // three of them run
			wg.Go(func() {
				if _, err := e.Embed(ctx, &EmbedRequest{Inputs: []Prompt{*prompt(longPrompt(1, 100)...)}}, nil); !errors.Is(err, why) {
					t.Errorf("got %v", err)
				}
			})
		}
		synctest.Wait()
		cancel(why)
		wg.Wait()
		g.held.Store(false)
		close(g.gate)
		synctest.Wait()
		if s := e.Status(); s.Running != 0 || s.Queued != 0 || s.FreeTok != s.CacheTok {
			t.Errorf("after everybody left: %+v", s)
		}
	})
}

// When the backend fails in a step beside an input that is to be read in the same
// turn, both requests end, and nothing else does.
func TestFailureBesideAnInput(t *testing.T) {
	var broken atomic.Bool
	cfg := toyConfig()
	b := &toyBackend{step: func(_ context.Context, rows *graph.Rows) error {
		if broken.Load() && !rows.States {
			panic("device lost")
		}
		return nil
	}}
	m := loadToyOn(t, cfg, b)
	defer m.close(t)
	chat := m.submit(t, longPrompt(1, 4), 100)
	for !chat.t.decoding() {
		m.turn()
	}
	input := m.submitEmbedding(t, 0, longPrompt(2, 200))
	m.turn()
	if input.t.seq == nil {
		t.Fatal("the input is not being read beside the answer")
	}
	broken.Store(true)
	m.turn()
	for _, c := range m.calls {
		if c.read(); !c.last.done || !errors.Is(c.last.err, ErrFailed) {
			t.Errorf("done %v, %v", c.last.done, c.last.err)
		}
	}
}
