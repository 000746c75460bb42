package daemon

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"edged/offload"
	"edged/pinnedmem"
)

// Prediction is what one step at the full context moves, and its least time.
type Prediction struct {
	First bool // after a prompt: the step that fills the working sets
	Bytes offload.StepBytes
	Floor offload.Floor // milliseconds
}

// Predict predicts steps: the first one after a prompt only where it differs.
func (r *PlanReport) Predict() []Prediction {
	kinds := []bool{false}
	if slices.ContainsFunc(r.Plan.Config.Layers, func(l offload.LayerPlan) bool { return l.Class == offload.Paged }) {
		kinds = []bool{true, false}
	}
	var list []Prediction
	for _, first := range kinds {
		x := Prediction{First: first, Bytes: r.Plan.Step(r.Plan.Config.Context, first)}
		if r.Ceilings.Name != "" {
			x.Floor = r.Ceilings.Floor(r.StepWeights, x.Bytes)
		}
		list = append(list, x)
	}
	return list
}

// WriteTable writes the plan with columns separated by tabs.
func (r *PlanReport) WriteTable(w io.Writer) {
	c := r.Plan.Config
	sessions := fmt.Sprint(c.MaxSeqs)
	if c.Tokens != c.Context*c.MaxSeqs {
		sessions += fmt.Sprintf(", which share %d tokens", c.Tokens)
	}
	fmt.Fprintf(w, "%s, context %d of %d tokens, sessions: %s\n", r.Path, c.Context, r.ModelContext, sessions)
	fmt.Fprintf(w, "%s; kept here as: %s\n", r.Plan.Policy, r.Plan.Resolved)
	for _, n := range r.Plan.Notes {
		fmt.Fprintf(w, "note: %s\n", n)
	}
	fast := "GPU"
	if r.GPU == 0 {
		fast = "FAST"
	}
	fmt.Fprintf(w, "\nLAYERS\tKEPT\t%s\tHOST\n", fast)
	row := func(layers, kept string, fast, host int64) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", layers, kept, FormatBytes(fast), FormatBytes(host))
	}
	progFast, progHost := r.needs()
	weights := progFast[pinnedmem.Weights]
	row("", "weights", weights, 0)
	row("", "activations of steps, hidden states of prompts", progFast.Total()-weights, progHost.Total())
	for _, x := range r.Plan.Rows {
		row(layerRanges(x.Layers), describeLayer(x), x.Bytes.Fast.Total(), x.Bytes.Host.Total())
	}
	b := r.Plan.Bytes
	row("", "sum", progFast.Total()+b.Fast.Total(), progHost.Total()+b.Host.Total())
	if r.GPU > 0 {
		row("", "limit", r.GPU, r.Host)
	} else {
		fmt.Fprintf(w, "\tlimit\t%s, both together\n", FormatBytes(r.Host))
	}
	r.writeSteps(w)
}

// writeSteps writes what a step moves and, with a device, how long it takes.
func (r *PlanReport) writeSteps(w io.Writer) {
	fmt.Fprintf(w, "\nA step at %d tokens reads %s of weights and:\n", r.Plan.Config.Context, FormatBytes(r.StepWeights))
	fmt.Fprint(w, "STEP\tINDEX\tCACHE\tBUS")
	if r.Ceilings.Name != "" {
		fmt.Fprint(w, "\tMS IN MEMORY\tMS ON BUS\tMS/TOKEN AT LEAST")
	}
	fmt.Fprintln(w)
	list := r.Predict()
	for _, x := range list {
		b, f, step := x.Bytes, x.Floor, "every"
		if len(list) > 1 {
			step = map[bool]string{true: "first", false: "later, at most"}[x.First]
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s", step, FormatBytes(b.Index), FormatBytes(b.Fast()-b.Index), FormatBytes(b.Bus()))
		if r.Ceilings.Name != "" {
			fmt.Fprintf(w, "\t%.3f\t%.3f\t%.3f", f.Fast, f.Bus, f.Step())
		}
		fmt.Fprintln(w)
	}
	if r.Ceilings.Name != "" {
		fmt.Fprintf(w, "ceilings: %s\n", r.Ceilings.Name)
	}
}

// describeLayer says how a row's layers are kept.
func describeLayer(x offload.PlanRow) string {
	p := x.Plan
	s := fmt.Sprintf("%s %s", p.Class, p.Elem)
	switch {
	case x.Layers == nil:
		s = "shared: tables, fetched pages, staging of prompts"
	case p.Class == offload.Window:
		s += fmt.Sprintf(", the newest %d tokens for a window of %d", p.Tail, p.Window)
	case p.Class == offload.Paged:
		s += fmt.Sprintf(", attends to %d tokens, exchanges up to %d a step", p.Budget*offload.ColdTok, p.Exchange*offload.ColdTok)
	case p.Class == offload.Gathered:
		s += fmt.Sprintf(", streams %d channels, attends to %d tokens", p.Channels, p.Budget)
	}
	return s
}

// layerRanges writes ascending layer numbers like 0,2-5.
func layerRanges(layers []int) string {
	var parts []string
	for i := 0; i < len(layers); i++ {
		first := i
		for i+1 < len(layers) && layers[i+1] == layers[i]+1 {
			i++
		}
		if i > first {
			parts = append(parts, fmt.Sprintf("%d-%d", layers[first], layers[i]))
		} else {
			parts = append(parts, fmt.Sprint(layers[i]))
		}
	}
	return strings.Join(parts, ",")
}
