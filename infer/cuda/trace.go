package cuda

import (
	"context"
	"errors"
	"fmt"

	"edged/cudakern/driver"
	"edged/infer/graph"
	"edged/offload"
)

// clockQueue is a queue that can say when commands have ended.
type clockQueue interface {
	// Clocked prepares commands as a graph that notes when each has ended, on a branch of
	// its own, so that kernels begin as early as they do without.
	Clocked(cmds []command) (driver.Graph, clocks, error)
}

// clocks are when the commands of a graph that has run have ended.
type clocks interface {
	// Seconds are since the first command's end.
	Seconds() ([]float64, error)
	Close() error
}

// ends are the marks of commands' ends.
type ends struct{ marks }

func (m *ends) Seconds() ([]float64, error) {
	var out []float64
	for _, e := range m.at {
		d, err := m.d.Elapsed(m.at[0], e)
		if err != nil {
			return nil, err
		}
		out = append(out, d.Seconds())
	}
	return out, nil
}

// Clocked implements clockQueue: the clocks of each stream are on one of their own.
func (s *stream) Clocked(cmds []command) (g driver.Graph, c clocks, err error) {
	l, times := s.lanes(), &ends{marks{d: s.d}}
	defer func() {
		err = errors.Join(err, l.Close())
		if err != nil {
			err = errors.Join(err, times.Close())
		}
	}()
	const own, besides = 1, 2 // streams of clocks
	used := own
	for i := range cmds {
		on, err := l.add(&cmds[i])
		if err != nil {
			return 0, nil, err
		}
		n := own
		if cmds[i].beside {
			n, used = besides, besides
		}
		clock, err := l.beside(n)
		if err != nil {
			return 0, nil, err
		}
		e, err := times.add(true)
		if err = errors.Join(err, l.meet(on, clock)); err != nil {
			return 0, nil, err
		}
		s.list.Clock(e)
	}
	err = l.end()
	for n := own; n <= used; n++ {
		err = errors.Join(err, l.meet(l.more[n], s.s))
	}
	if err != nil {
		return 0, nil, err
	}
	g, err = s.d.Capture(&s.list)
	return g, times, err
}

// Trace implements graph.Tracer: a step of few rows is run as the graph that it is,
// which notes when each launch and copy has ended.
func (e *exec) Trace(ctx context.Context, rows *graph.Rows, kv []*offload.Seq) ([]graph.OpSpan, error) {
	if err := oneOfEach(rows, kv); err != nil {
		return nil, fmt.Errorf("trace on cuda: %w", err)
	}
	var spans []graph.OpSpan
	_, err := e.stepBy(ctx, rows, kv, func(sh shape) (err error) {
		spans, err = e.clocked(sh)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("trace on cuda: %w", lost(err))
	}
	return spans, nil
}

func (e *exec) clocked(sh shape) (spans []graph.OpSpan, err error) {
	q, ok := e.queue.(clockQueue)
	if !ok {
		return nil, errors.New("the queue has no clock")
	}
	cmds, names := e.named(sh)
	g, c, err := q.Clocked(cmds)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := errors.Join(e.queue.Replay(g), e.queue.Wait(), e.queue.Drop(g)); err != nil {
		return nil, err
	}
	ends, err := c.Seconds()
	if err != nil {
		return nil, err
	}
	return spansOf(cmds, names, ends), nil
}

// spansOf are a step's spans but for the first command, the copy of its state: each begins
// when what it has waited for had ended.
func spansOf(cmds []command, names []string, ends []float64) (spans []graph.OpSpan) {
	var own, beside float64 // ends of the last ones
	for i := 1; i < len(cmds); i++ {
		c, span := cmds[i], graph.OpSpan{Name: names[i], Kernel: cmds[i].kernel, Begin: own, End: ends[i]}
		if c.beside {
			if span.Stream = 1; cmds[i-1].beside {
				span.Begin = beside
			}
			beside = span.End
		} else {
			if c.joins {
				span.Begin = max(own, beside)
			}
			own = span.End
		}
		spans = append(spans, span)
	}
	return spans
}

// named are a step's commands in order, and the ops that they are of.
func (e *exec) named(sh shape) (cmds []command, names []string) {
	add := func(name func(command) string) {
		for _, c := range e.batch.cmds {
			cmds, names = append(cmds, c), append(names, name(c))
		}
		e.batch.reset()
	}
	e.batch.reset()
	e.begin(&e.batch)
	add(func(command) string { return "state" })
	for _, n := range e.nodesOf(sh, 0) {
		n.emit(&e.batch, sh)
		add(func(c command) string { return opName(n, c) })
	}
	e.end(&e.batch, sh)
	add(func(command) string { return "answer" })
	all := batch{cmds: cmds}
	all.order()
	return all.cmds, names
}
