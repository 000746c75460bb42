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

// marks are clocks of a device.
type marks struct {
	d  *device
	at []driver.Event
}

func (m *marks) Seconds() ([]float64, error) {
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

func (m *marks) Close() (err error) {
	for _, e := range m.at {
		err = errors.Join(err, m.d.FreeEvent(e))
	}
	return err
}

// add makes one more mark.
func (m *marks) add(timing bool) (driver.Event, error) {
	e, err := m.d.NewEvent(timing)
	if err == nil {
		m.at = append(m.at, e)
	}
	return e, err
}

// Clocked implements clockQueue.
func (s *stream) Clocked(cmds []command) (g driver.Graph, c clocks, err error) {
	beside, err := s.d.NewStream()
	if err != nil {
		return 0, nil, err
	}
	order, times := &marks{d: s.d}, &marks{d: s.d}
	defer func() {
		err = errors.Join(err, order.Close(), s.d.FreeStream(beside))
		if err != nil {
			err = errors.Join(err, times.Close())
		}
	}()
	// meet lets what comes on one stream wait for what is on the other.
	meet := func(from, to driver.Stream) error {
		e, err := order.add(false)
		if err != nil {
			return err
		}
		s.list.On(from)
		s.list.Record(e)
		s.list.On(to)
		s.list.Wait(e)
		return nil
	}
	s.list.Reset(s.s)
	for i := range cmds {
		if err := s.add(&cmds[i]); err != nil {
			return 0, nil, err
		}
		if err := meet(s.s, beside); err != nil {
			return 0, nil, err
		}
		e, err := times.add(true)
		if err != nil {
			return 0, nil, err
		}
		s.list.Clock(e)
		s.list.On(s.s)
	}
	if err := meet(beside, s.s); err != nil {
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
	for i := 1; i < len(cmds); i++ { // the first one is the copy of the step's state
		spans = append(spans, graph.OpSpan{Name: names[i], Kernel: cmds[i].kernel, Begin: ends[i-1], End: ends[i]})
	}
	return spans, nil
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
