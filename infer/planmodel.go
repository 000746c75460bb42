package infer

import (
	"edged/infer/graph"
	"edged/offload"
	"edged/pinnedmem"
)

// Memory is what a program and its cache may take, bytes.
type Memory struct {
	Host     int64
	Fast     int64 // of the cache's fast tier; 0: no limit of its own
	Device   int64 // of a device, programs included; 0: there is none, and the fast tier is host memory
	Lockable int64 // of host memory that is to be locked; 0: no limit
}

// fastBeside is the bytes of the fast tier beside a program that takes so many of the
// device; 0: no limit of its own.
func (m Memory) fastBeside(program int64) int64 {
	if m.Device == 0 {
		return m.Fast
	}
	left := max(m.Device-program, 1)
	if m.Fast > 0 {
		left = min(left, m.Fast)
	}
	return left
}

// ModelPlan is what an engine would take of a model.
type ModelPlan struct {
	Cache   *offload.Plan
	Program graph.Footprint
}

// PlanModel plans as an engine of that configuration does when it loads a model. It takes
// nothing. With sessions, as many of a whole context each are planned for, in place of
// those that the engine runs and keeps.
func PlanModel(s graph.Sizer, prog *graph.Program, c Config, m ModelConfig, mem Memory, sessions int) (*ModelPlan, error) {
	c.Models, c.HostBytes = []ModelConfig{m}, mem.Host
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	context := m.Context
	if context == 0 {
		context = prog.Context
	}
	if sessions > 0 {
		c.MaxSeqs = min(c.MaxSeqs, sessions)
	}
	l := c.limits()
	l.Host = pinnedmem.NewHost(mem.Host) // of which nothing is taken
	kv := c.kvPlan(prog, c.Models[0], mem, s, l)
	p := &ModelPlan{}
	if sessions > 0 {
		kv.slots, kv.running, kv.whole = sessions, c.MaxSeqs, true
		p.Cache, err = kv.context(context, false)
	} else if p.Cache, err = kv.context(context, false); err == nil {
		p.Cache, err = kv.widen(p.Cache, c.CacheTok)
	}
	if err != nil {
		return nil, err
	}
	p.Program, err = kv.program(context, p.Cache.Config.Layers)
	return p, err
}

// limits are those of an engine's steps.
func (c Config) limits() graph.Limits {
	return graph.Limits{MaxRows: c.ChunkTok + c.MaxSeqs, MaxOut: c.MaxSeqs, MaxAsk: c.MaxSeqs, MaxSeqs: c.MaxSeqs, Threads: c.Threads}
}

// kvPlan is how a model's cache is planned, beside what its program takes: an estimate,
// where no backend knows.
func (c Config) kvPlan(p *graph.Program, m ModelConfig, mem Memory, s graph.Sizer, l graph.Limits) kvPlan {
	kv := kvPlan{layers: p.KV, policy: m.Policy, options: m.Cache, slots: c.MaxSeqs + c.CacheSeqs, running: c.MaxSeqs, Memory: mem}
	kv.size = func(context int, layers []offload.LayerPlan) (f graph.Footprint, err error) {
		if s == nil {
			f.Host[pinnedmem.Activations] = workingBytes(p, l.MaxRows)
			return f, nil
		}
		l.Context, l.KV = context, layers
		return s.Size(p, l)
	}
	return kv
}
