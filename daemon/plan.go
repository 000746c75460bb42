package daemon

import (
	"errors"
	"fmt"
	"log/slog"

	"edged/infer"
	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/infer/model"
	"edged/offload"
	"edged/pinnedmem"
)

// Planning says what a KV cache is to be planned for. Nothing is loaded and
// nothing allocated.
type Planning struct {
	Model   string // file or name
	Policy  string
	Options offload.Options
	Context int // tokens; 0 is the model's own
	// Sessions is how many sessions of a whole context are resident at once; 0 is what
	// the engine runs and keeps, in a cache of its size.
	Sessions int
	Engine   Engine // the daemon's; its backend and gpu_reserve count for nothing here
	// GPU is the bytes of device memory for weights, activations and cache. Without it,
	// the fast tier lies in host memory too.
	GPU  Size
	Host Size // bytes of host memory; 0 is the engine's, or what this machine has left
	Lock bool // this machine's host memory is to be locked, as the engine's configuration may say too
	// GPURate and BusRate replace the measured ceilings: bytes per second.
	GPURate, BusRate float64
	Paths            Paths
}

// PlanReport is a plan and what it was made from.
type PlanReport struct {
	Path         string
	ModelContext int             // tokens
	Needs        graph.Footprint // of the program: with a GPU, in both tiers; without, all of it in host memory
	StepWeights  int64           // bytes of weights that a step reads
	GPU, Host    int64           // bytes that were planned with; GPU 0: none
	Plan         *offload.Plan
	Ceilings     offload.Ceilings // without a name if there is no device
	Program      *graph.Program   // with its cache ops; its weights cannot be read
}

// Plan makes the plan.
func (p Planning) Plan() (*PlanReport, error) {
	path, err := p.Paths.ModelFile(p.Model)
	if err != nil {
		return nil, err
	}
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	if p.Host == 0 {
		p.Host = p.Engine.HostMemory
	}
	p.Lock = p.Lock || p.Engine.LockMemory
	r := &PlanReport{Path: path, GPU: int64(p.GPU), Host: int64(p.Host)}
	err = p.fill(r, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("plan %s: %w", path, err)
	}
	return r, nil
}

func (p Planning) fill(r *PlanReport, f *gguf.File) error {
	prog, err := model.Build(f)
	if err != nil {
		return err
	}
	r.ModelContext = prog.Context
	if p.Context > prog.Context {
		return &offload.ContextError{Context: p.Context, Model: prog.Context}
	}
	if p.Context == 0 {
		p.Context = prog.Context
	}
	r.StepWeights = stepWeights(prog)
	lockable, err := p.readMachine(r)
	if err != nil {
		return err
	}
	if err := p.cache(r, prog, lockable); err != nil {
		return err
	}
	r.Ceilings = p.ceilings()
	r.Program, err = graph.WithCache(prog, r.Plan.Config.Layers)
	return err
}

// readMachine fills in what this machine has left, and gives the bytes that may be
// locked of it; 0 is no limit.
func (p Planning) readMachine(r *PlanReport) (lockable int64, err error) {
	if r.Host > 0 && !p.Lock {
		return 0, nil
	}
	h, err := readHostMemory()
	if err != nil {
		return 0, err
	}
	if r.Host == 0 {
		if r.Host, err = hostBudget(0, h); err != nil {
			return 0, err
		}
	}
	if !p.Lock {
		return 0, nil
	}
	return max(h.Lockable, 1), nil
}

// cache plans as the engine does.
func (p Planning) cache(r *PlanReport, prog *graph.Program, lockable int64) error {
	if p.Sessions < 0 {
		return fmt.Errorf("%w: sessions: %d, must be at least 0", offload.ErrPlan, p.Sessions)
	}
	c := EngineConfig(Config{Engine: p.Engine}, r.Host, slog.New(slog.DiscardHandler))
	m := infer.ModelConfig{Name: p.Model, Path: r.Path, Context: p.Context, Policy: p.Policy, Cache: p.Options}
	plan, err := infer.PlanModel(infer.PlanningSizer(p.GPU > 0), prog, c, m, infer.Memory{Host: r.Host, Device: r.GPU, Lockable: lockable}, p.Sessions)
	if err != nil {
		return err
	}
	r.Plan, r.Needs = plan.Cache, plan.Program
	return nil
}

// needs is what the program takes in the fast tier, and in host memory beside that.
func (r *PlanReport) needs() (fast, host pinnedmem.Usage) {
	if r.GPU > 0 {
		return r.Needs.Device, r.Needs.Host
	}
	return r.Needs.Host, host
}

// stepWeights is what a step reads of a model's weights: of a table that only embeds
// tokens, it reads single rows.
func stepWeights(p *graph.Program) int64 {
	read := map[graph.WeightID]bool{}
	for _, op := range p.Ops {
		if l, ok := op.(graph.Linear); ok {
			for _, part := range l.Parts {
				read[part.W] = true
			}
		}
	}
	var n int64
	for _, w := range p.Weights {
		n += int64(len(w.Data))
	}
	for _, op := range p.Ops {
		if e, ok := op.(graph.Embed); ok && !read[e.Table] {
			n -= int64(len(p.Weights[e.Table].Data))
		}
	}
	return n
}

// ceilings is what the prediction is made with.
func (p Planning) ceilings() offload.Ceilings {
	if p.GPU == 0 {
		return offload.Ceilings{}
	}
	c := offload.H100()
	if p.GPURate > 0 {
		c.Name, c.Read = fmt.Sprintf("%s; GPU memory %g GB/s as given", c.Name, p.GPURate/1e9), p.GPURate
	}
	if p.BusRate > 0 {
		c.Name, c.Copy, c.Gather, c.Rows = fmt.Sprintf("%s; bus %g GB/s as given", c.Name, p.BusRate/1e9), p.BusRate, nil, 0
	}
	return c
}
