package daemon

import (
	"edged/offload"
	"edged/pinnedmem"
)

// planJSON is what `edged plan --json` prints. Sizes are bytes.
type planJSON struct {
	Path         string           `json:"path"`
	Context      int              `json:"context"`
	ModelContext int              `json:"model_context"`
	Sessions     int              `json:"sessions"`
	Tokens       int              `json:"tokens"` // of all sessions together
	Policy       string           `json:"policy"`
	Resolved     string           `json:"resolved"`
	Notes        []string         `json:"notes,omitempty"`
	Weights      int64            `json:"weights"`
	GPU          int64            `json:"gpu_limit"` // 0: no device
	Host         int64            `json:"host_limit"`
	FastUse      map[string]int64 `json:"fast"` // by purpose, activations included, weights not counted
	HostUse      map[string]int64 `json:"host"`
	Classes      []classJSON      `json:"classes"`
	Steps        []stepJSON       `json:"steps"`
	Ceilings     string           `json:"ceilings,omitempty"`
}

// classJSON is layers that are kept alike; no layers: what all share.
type classJSON struct {
	Layers   []int  `json:"layers,omitempty"`
	Class    string `json:"class,omitempty"`
	Elem     string `json:"elem,omitempty"`
	Group    int    `json:"group,omitempty"`
	Tail     int    `json:"tail,omitempty"`
	Budget   int    `json:"budget,omitempty"` // cold pages (paged) or tokens
	Exchange int    `json:"exchange,omitempty"`
	Channels int    `json:"channels,omitempty"`
	Sink     int    `json:"sink,omitempty"`
	Fast     int64  `json:"fast"`
	Host     int64  `json:"host"`
}

// stepJSON is one prediction.
type stepJSON struct {
	First    bool    `json:"first"` // after a prompt
	Index    int64   `json:"index"`
	Fast     int64   `json:"fast"` // all that is read in the fast tier, index included
	Fetched  int64   `json:"fetched"`
	Streamed int64   `json:"streamed"`
	Bus      int64   `json:"bus"`
	Cold     int64   `json:"cold"`
	FastMS   float64 `json:"fast_ms,omitempty"`
	BusMS    float64 `json:"bus_ms,omitempty"`
	FloorMS  float64 `json:"floor_ms,omitempty"`
}

// JSON is the plan as an object for json.Marshal.
func (r *PlanReport) JSON() any {
	c := r.Plan.Config
	fast, host := r.needs()
	weights := fast[pinnedmem.Weights]
	fast[pinnedmem.Weights] = 0
	for i := range fast {
		fast[i] += r.Plan.Bytes.Fast[i]
		host[i] += r.Plan.Bytes.Host[i]
	}
	j := planJSON{
		Path: r.Path, Context: c.Context, ModelContext: r.ModelContext, Sessions: c.MaxSeqs, Tokens: c.Tokens, Policy: r.Plan.Policy.Name, Resolved: r.Plan.Resolved,
		Notes: r.Plan.Notes, Weights: weights, GPU: r.GPU, Host: r.Host,
		FastUse: byPurpose(fast), HostUse: byPurpose(host), Ceilings: r.Ceilings.Name,
	}
	for _, x := range r.Plan.Rows {
		j.Classes = append(j.Classes, classOf(x))
	}
	for _, x := range r.Predict() {
		b, f := x.Bytes, x.Floor
		j.Steps = append(j.Steps, stepJSON{First: x.First, Index: b.Index, Fast: b.Fast(), Fetched: b.Fetched, Streamed: b.Streamed,
			Bus: b.Bus(), Cold: b.Cold, FastMS: f.Fast, BusMS: f.Bus, FloorMS: f.Step()})
	}
	return j
}

func classOf(x offload.PlanRow) classJSON {
	c := classJSON{Layers: x.Layers, Fast: x.Bytes.Fast.Total(), Host: x.Bytes.Host.Total()}
	if p := x.Plan; x.Layers != nil {
		c.Class, c.Elem, c.Group, c.Tail, c.Budget = p.Class.String(), p.Elem.String(), p.Group, p.Tail, p.Budget
		c.Exchange, c.Channels, c.Sink = p.Exchange, p.Channels, p.Sink
	}
	return c
}

func byPurpose(u pinnedmem.Usage) map[string]int64 {
	m := map[string]int64{}
	for p, n := range u {
		if n > 0 {
			m[pinnedmem.Purpose(p).String()] = n
		}
	}
	return m
}
