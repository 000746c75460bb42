package cuda

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"edged/cudakern/driver"
	"edged/infer/graph"
	"edged/offload"
)

const (
	profileReps = 9 // timings of an op, of which the median counts
	profileRuns = 5 // runs of a timing
)

// work is what the launches of one op do in a step.
type work struct {
	name  string
	cmds  []command
	bytes int64
}

// Profile implements graph.Profiler: a step of few rows is run, and then what each
// op launches in it, as a graph of its own in which every launch reads its own
// layer's weights. What ops have left between them, such as sums, is no result any
// more; the step's positions are reserved and not committed, as after Step.
func (e *exec) Profile(ctx context.Context, rows *graph.Rows, kv []*offload.Seq) ([]graph.OpTime, error) {
	if err := oneOfEach(rows, kv); err != nil {
		return nil, fmt.Errorf("profile on cuda: %w", err)
	}
	if _, err := e.step(ctx, rows, kv); err != nil {
		return nil, fmt.Errorf("profile on cuda: %w", lost(err))
	}
	sh := e.state.fill(rows, false)
	sh.logits = e.narrow.fill(e, rows)
	sh.flush = e.fillSequences(kv)
	out, err := e.profile(ctx, e.works(sh, kv))
	// Choices have counted what they brought again and again, and scans themselves.
	e.batch.reset()
	e.nobodyArrived()
	e.batch.copyOut(e.cold.host, e.cold.traffic)
	if err = errors.Join(err, e.queue.Run(e.batch.cmds), e.queue.Wait()); err != nil {
		return nil, fmt.Errorf("profile on cuda: %w", lost(err))
	}
	e.forgetCounts()
	return out, nil
}

// oneOfEach refuses steps that do not run as a graph.
func oneOfEach(rows *graph.Rows, kv []*offload.Seq) error {
	if n := len(rows.Tok); n > graphRows || n > len(kv) {
		return fmt.Errorf("%w: %d rows of %d sequences; one of each, at most %d, run as a graph", graph.ErrRows, n, len(kv), graphRows)
	}
	return nil
}

// works are a step's launches by op, in the order in which ops begin.
func (e *exec) works(sh shape, kv []*offload.Seq) []work {
	var out []work
	add := func(name string, c command, bytes int64) {
		i := slices.IndexFunc(out, func(w work) bool { return w.name == name })
		if i < 0 {
			i = len(out)
			out = append(out, work{name: name})
		}
		out[i].cmds, out[i].bytes = append(out[i].cmds, c), out[i].bytes+bytes
	}
	for _, n := range e.nodesOf(sh, 0) {
		e.batch.reset()
		n.emit(&e.batch, sh)
		for i, c := range e.batch.cmds {
			bytes := e.moved(c)
			if i == 0 {
				bytes += e.movedFor(n, sh, kv)
			}
			if n, ok := n.(*gatheredNode); ok && c.kernel == "fetch_tokens" {
				bytes += n.fetchedBytes(kv)
			}
			if n, ok := n.(*choiceNode); ok && i == 0 {
				bytes += n.weighedBytes(kv)
			}
			add(opName(n, c), c, bytes)
		}
	}
	e.batch.reset()
	e.end(&e.batch, sh)
	for _, c := range e.batch.cmds {
		add("answer", c, int64(len(c.host)))
	}
	return out
}

// opName says what a node's launch does: products are told apart by their weights.
func opName(n node, c command) string {
	switch n := n.(type) {
	case *embedNode:
		return "embed"
	case *normNode:
		return "norm"
	case *ropeNode:
		return "rope"
	case *appendNode:
		return "append"
	case *queryKeyNode:
		if c.kernel == "store_records" {
			return "store"
		}
		return "norm, rope, append"
	case *selectNode:
		return "select"
	case *attendNode, *recordsNode, *gatheredAttendNode:
		return "attend"
	case *linearNode:
		name := "linear"
		for _, p := range n.parts {
			name += " " + role(p.w)
		}
		return name
	case *gatedNode:
		return "gated linear " + role(n.gate) + " " + role(n.up)
	}
	return strings.TrimRight(c.kernel, "_0123456789")
}

// role is a matrix's name without its layer.
func role(w *weight) string {
	name := strings.TrimSuffix(w.Name, ".weight")
	if rest, ok := strings.CutPrefix(name, "blk."); ok {
		name = strings.TrimLeft(rest, ".0123456789")
	}
	return name
}

// moved is the bytes of weights and activations that a launch reads and writes.
func (e *exec) moved(c command) int64 {
	var sum int64
	for _, u := range c.uses {
		isWeight := e.weightMem.holds(u.at)
		isBuffer := slices.ContainsFunc(e.bufs, func(a array) bool { return a.at == u.at })
		if isBuffer || isWeight && c.kernel != "embed" {
			sum += u.bytes
		}
	}
	return sum
}

// movedFor is what a node reads of caches and tables of which launches say only how
// far they may reach.
func (e *exec) movedFor(n node, sh shape, kv []*offload.Seq) int64 {
	var sum int64
	if n, ok := n.(*embedNode); ok {
		w := &e.weights[n.op.Table]
		return int64(sh.rows) * int64(w.Type.RowBytes(w.K))
	}
	for _, q := range kv {
		switch n := n.(type) {
		case *choiceNode:
			sum += e.stepBytes(n.op.Layer, q).Index
		case *gatheredNode:
			sum += e.stepBytes(n.op.Layer, q).Streamed
		case *gatheredAttendNode:
			b := e.stepBytes(n.op.Layer, q)
			sum += b.Fast() - b.Streamed
		case *attendNode:
			b := e.stepBytes(n.op.Layer, q)
			sum += b.Fast() - b.Index
		case *recordsNode:
			b := e.stepBytes(n.op.Layer, q)
			sum += b.Fast() - b.Index
		}
	}
	return sum
}

// fetchedBytes is the rows of tokens that a choice brings.
func (n *gatheredNode) fetchedBytes(kv []*offload.Seq) (sum int64) {
	for _, q := range kv {
		b := n.e.stepBytes(n.op.Layer, q)
		sum += b.Fetched + b.Sinks
	}
	return sum
}

// weighedBytes is the keys of what sequences hold, by which a choice weighs them.
func (n *choiceNode) weighedBytes(kv []*offload.Seq) (sum int64) {
	r, err := n.plan.Record()
	if err != nil || !n.plan.ByRecord {
		return 0 // Limits.Validate has seen the plan
	}
	for _, q := range kv {
		if q.Stored()/offload.ColdTok > n.plan.Budget {
			sum += int64(n.plan.Budget*n.plan.KVHeads) * int64(r.VScales) // values begin there
		}
	}
	return sum
}

// stepBytes is what a sequence's next token reads of a layer.
func (e *exec) stepBytes(layer int, q *offload.Seq) offload.StepBytes {
	p := offload.Plan{Config: offload.Config{Layers: e.lim.KV[layer : layer+1], Context: e.lim.Context}}
	return p.Step(q.Len()+1, false)
}

// profile times works.
func (e *exec) profile(ctx context.Context, works []work) ([]graph.OpTime, error) {
	var out []graph.OpTime
	for _, w := range works {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		e.batch.cmds = byThemselves(w.cmds)
		for i := range e.batch.cmds {
			e.batch.cmds[i].beside, e.batch.cmds[i].joins = false, false
		}
		e.batch.order()
		g, err := e.queue.Prepare(e.batch.cmds)
		if err != nil {
			return nil, err
		}
		t, err := e.timeGraph(g)
		if err = errors.Join(err, e.queue.Drop(g)); err != nil {
			return nil, err
		}
		out = append(out, graph.OpTime{Name: w.name, Launches: len(w.cmds), Seconds: t, Bytes: w.bytes})
	}
	return out, nil
}

// timeGraph is the median time of a graph.
func (e *exec) timeGraph(g driver.Graph) (float64, error) {
	var times []float64
	for range profileReps {
		t, err := e.queue.Time(g, profileRuns)
		if err != nil {
			return 0, err
		}
		times = append(times, t)
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}
