package daemon

import (
	"errors"
	"fmt"
	"math"

	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/infer/model"
	"edged/offload"
)

// Planning says what a KV cache is to be planned for. Nothing is loaded and
// nothing allocated.
type Planning struct {
	Model    string // file or name
	Policy   string
	Options  offload.Options
	Context  int // tokens; 0 is the model's own
	Sessions int // that are resident at once
	// GPU is the bytes of device memory for weights and cache, activations not
	// counted. Without it, the fast tier lies in host memory too.
	GPU  Size
	Host Size // bytes of host memory; 0 is what this machine has left
	Lock bool // this machine's host memory is to be locked
	// GPURate and BusRate replace the measured ceilings: bytes per second.
	GPURate, BusRate float64
	Paths            Paths
}

// PlanReport is a plan and what it was made from.
type PlanReport struct {
	Path         string
	ModelContext int   // tokens
	Weights      int64 // bytes of the model's file, in the fast tier
	StepWeights  int64 // of them, those that a step reads
	GPU, Host    int64 // bytes that were planned with; GPU 0: none
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
	r.Weights, r.StepWeights = weightBytes(prog)
	lockable, err := p.readMachine(r)
	if err != nil {
		return err
	}
	if r.Plan, err = p.cache(r, prog.KV, lockable); err != nil {
		return err
	}
	r.Ceilings = p.ceilings()
	r.Program, err = graph.WithCache(prog, r.Plan.Config.Layers)
	return err
}

// readMachine fills in what this machine has left, and gives the bytes that may be
// locked of it.
func (p Planning) readMachine(r *PlanReport) (lockable int64, err error) {
	if r.Host > 0 && !p.Lock {
		return math.MaxInt64, nil
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
		return math.MaxInt64, nil
	}
	return h.Lockable, nil
}

// cache plans with what the weights leave of the fast tier. Of host memory, what may
// be locked is the cache's alone: weights are not.
func (p Planning) cache(r *PlanReport, layers []offload.LayerSpec, lockable int64) (*offload.Plan, error) {
	ask := offload.Ask{Layers: layers, Policy: p.Policy, Options: p.Options, Context: p.Context, Sessions: p.Sessions}
	memory := fmt.Sprintf("%d bytes of GPU memory", r.GPU)
	if r.GPU == 0 {
		memory = fmt.Sprintf("%d bytes of host memory", r.Host)
	}
	left, room := r.GPU-r.Weights, r.Host
	if r.GPU == 0 {
		left = r.Host - r.Weights
		room = left
	}
	if left <= 0 {
		return nil, fmt.Errorf("%w: weights of %d bytes leave nothing of %s", offload.ErrNoFit, r.Weights, memory)
	}
	if lockable < room {
		room = max(lockable, 1) // 0 is no limit
		memory += fmt.Sprintf(", with %d bytes that RLIMIT_MEMLOCK lets be locked (ulimit -l, LimitMEMLOCK= of a unit)", lockable)
	}
	if r.GPU == 0 {
		ask.Total = room
	} else {
		ask.Fast, ask.Host = left, room
	}
	plan, err := offload.MakePlan(ask)
	if err != nil {
		return nil, fmt.Errorf("beside weights of %d bytes in %s: %w", r.Weights, memory, err)
	}
	return plan, nil
}

// weightBytes is what a model's weights take, and what a step reads of them:
// of a table that only embeds tokens, it reads single rows.
func weightBytes(p *graph.Program) (all, step int64) {
	read := map[graph.WeightID]bool{}
	for _, op := range p.Ops {
		if l, ok := op.(graph.Linear); ok {
			for _, part := range l.Parts {
				read[part.W] = true
			}
		}
	}
	for _, w := range p.Weights {
		all += int64(len(w.Data))
	}
	step = all
	for _, op := range p.Ops {
		if e, ok := op.(graph.Embed); ok && !read[e.Table] {
			step -= int64(len(p.Weights[e.Table].Data))
		}
	}
	return all, step
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
