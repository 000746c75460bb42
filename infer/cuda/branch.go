package cuda

import (
	"errors"
	"slices"

	"edged/cudakern/driver"
)

// Some commands of a step may run beside those behind them: what is chosen and fetched for
// the next layer under the present one's products. They stand where they may begin, which is
// when all in front of them has ended, and a command that reads what they leave joins: it
// waits for them. Where a step runs as no graph they run in their turn.

// branched says whether some commands run beside others.
func branched(cmds []command) bool {
	return slices.ContainsFunc(cmds, func(c command) bool { return c.beside })
}

// marks are events of a device.
type marks struct {
	d  *device
	at []driver.Event
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

// lanes are the streams of a graph that is captured: a queue's own, and others beside it.
type lanes struct {
	s     *stream
	order marks
	more  []driver.Stream
	last  bool // the last command ran beside
	open  bool // what ran beside has not been waited for
}

func (s *stream) lanes() *lanes {
	s.list.Reset(s.s)
	return &lanes{s: s, order: marks{d: s.d}}
}

func (l *lanes) Close() error {
	err := l.order.Close()
	for _, s := range l.more {
		err = errors.Join(err, l.s.d.FreeStream(s))
	}
	return err
}

// beside is the n-th stream beside the queue's.
func (l *lanes) beside(n int) (driver.Stream, error) {
	for len(l.more) <= n {
		s, err := l.s.d.NewStream()
		if err != nil {
			return 0, err
		}
		l.more = append(l.more, s)
	}
	return l.more[n], nil
}

// meet lets what comes on one stream wait for what is on the other.
func (l *lanes) meet(from, to driver.Stream) error {
	e, err := l.order.add(false)
	if err != nil {
		return err
	}
	list := &l.s.list
	list.On(from)
	list.Record(e)
	list.On(to)
	list.Wait(e)
	return nil
}

// add appends a command, and says on which stream.
func (l *lanes) add(c *command) (on driver.Stream, err error) {
	on = l.s.s
	if c.beside || c.joins && l.open {
		branch, err := l.beside(0)
		if err != nil {
			return 0, err
		}
		if c.beside {
			on = branch
		}
		switch {
		case c.beside && !l.last:
			err = l.meet(l.s.s, branch)
		case c.joins:
			err = l.meet(branch, l.s.s)
		}
		if err != nil {
			return 0, err
		}
		l.open = c.beside
	}
	l.last = c.beside
	l.s.list.On(on)
	return on, l.s.add(c)
}

// end joins what nothing has waited for.
func (l *lanes) end() error {
	if !l.open {
		return nil
	}
	return l.meet(l.more[0], l.s.s)
}

// capture makes a graph of commands with a branch.
func (s *stream) capture(cmds []command) (g driver.Graph, err error) {
	l := s.lanes()
	defer func() { err = errors.Join(err, l.Close()) }()
	for i := range cmds {
		if _, err := l.add(&cmds[i]); err != nil {
			return 0, err
		}
	}
	if err := l.end(); err != nil {
		return 0, err
	}
	return s.d.Capture(&s.list)
}
