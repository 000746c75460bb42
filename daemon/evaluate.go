package daemon

import (
	"context"
	"errors"
	"runtime"

	"edged/infer"
	"edged/infer/bench"
	"edged/infer/eval"
	"edged/infer/gguf"
	"edged/infer/model"
	"edged/offload"
)

// Evaluation says what to run a measurement on: no daemon, but the engine's
// defaults as a daemon would have them.
type Evaluation struct {
	Model   string // file or name; "" = what the golden file was made with
	Backend string
	Threads int // 0 = as many as this process may use
	Cache   Cache
	Paths   Paths
}

// Golden compares logits with a golden file, in steps of so many tokens, and returns
// the bars that hold for the backend.
func (e Evaluation) Golden(ctx context.Context, file string, chunk int) (report eval.GoldenReport, bars eval.GoldenBars, err error) {
	name := e.Model
	if name == "" {
		if name, err = eval.GoldenModel(file); err != nil {
			return report, bars, err
		}
	}
	path, err := e.Paths.ModelFile(name)
	if err != nil {
		return report, bars, err
	}
	backend, err := infer.NewBackend(e.Backend)
	if err != nil {
		return report, bars, err
	}
	defer func() { err = errors.Join(err, backend.Close()) }()
	// The reference keeps what it computes; a rounded cache would hide it.
	elem, bars := offload.F16, eval.QuantizedBars()
	if e.Backend == "ref" {
		elem, bars = offload.F32, eval.ReferenceBars()
	}
	report, err = eval.Golden(ctx, eval.GoldenOptions{File: file, Model: path, Backend: backend, Elem: elem, Chunk: chunk, Threads: e.threads()})
	return report, bars, err
}

// Engine starts an engine of its own with the model resident. The caller
// closes it.
func (e Evaluation) Engine(ctx context.Context) (*infer.Engine, error) {
	return e.engine(ctx, func(*infer.Config) {})
}

// engine is Engine with a change of the configuration.
func (e Evaluation) engine(ctx context.Context, change func(*infer.Config)) (*infer.Engine, error) {
	path, err := e.Paths.ModelFile(e.Model)
	if err != nil {
		return nil, err
	}
	host, err := readHostMemory()
	if err != nil {
		return nil, err
	}
	budget, err := hostBudget(0, host)
	if err != nil {
		return nil, err
	}
	c := DefaultConfig()
	c.Engine.Backend, c.Engine.Threads = e.Backend, e.Threads
	c.Models = []Model{{Name: nameOfFile(path), Path: path, Context: e.Cache.Context, Policy: e.Cache.Policy}}
	cfg := EngineConfig(c, budget, nil)
	cfg.Models[0].Cache = e.Cache.Options
	if e.Cache.Fast != "" {
		// One conversation at a time, so that the tier's size says what one needs.
		cfg.MaxSeqs, cfg.CacheSeqs = 1, 1
		if cfg.FastBytes, err = e.fastBytes(path); err != nil {
			return nil, err
		}
	}
	change(&cfg)
	engine, err := infer.New(cfg)
	if err != nil {
		return nil, err
	}
	if err := engine.Load(ctx, "", nil); err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	return engine, nil
}

// Bench measures speed. c.Path, c.Backend, c.Threads and c.HostBytes are set
// from the evaluation.
func (e Evaluation) Bench(ctx context.Context, c bench.Config) (report *bench.Report, err error) {
	if c.Path, err = e.Paths.ModelFile(e.Model); err != nil {
		return nil, err
	}
	host, err := readHostMemory()
	if err != nil {
		return nil, err
	}
	if c.HostBytes, err = hostBudget(0, host); err != nil {
		return nil, err
	}
	if c.Backend, err = infer.NewBackend(e.Backend); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Backend.Close()) }()
	c.BackendName, c.Threads = e.Backend, e.threads()
	c.Plan = func(layers []offload.LayerSpec, context int) (*offload.Plan, error) {
		return e.Cache.plan(layers, context)
	}
	return bench.Run(ctx, c)
}

// fastBytes is the fast tier's budget for a model file.
func (e Evaluation) fastBytes(path string) (int64, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return 0, err
	}
	prog, err := model.Build(f)
	if err != nil {
		return 0, errors.Join(err, f.Close())
	}
	context := e.Cache.Context
	if context == 0 {
		context = prog.Context
	}
	n, err := e.Cache.fastBytes(prog.KV, context)
	return n, errors.Join(err, f.Close())
}

func (e Evaluation) threads() int {
	if e.Threads == 0 {
		return runtime.GOMAXPROCS(0)
	}
	return e.Threads
}
