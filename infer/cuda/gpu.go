package cuda

import (
	"fmt"

	"edged/cudakern"
	"edged/cudakern/driver"
)

// memory is where an exec takes its memory from.
type memory interface {
	Alloc(bytes int64) (driver.Ptr, error)
	Free(driver.Ptr) error
	Register([]byte) (driver.Ptr, error)
	Unregister([]byte) error
	MemInfo() (free, total int64, err error)
}

// queue runs commands in order.
type queue interface {
	Run([]command) error
	Prepare([]command) (driver.Graph, error)
	Replay(driver.Graph) error
	Drop(driver.Graph) error
	Wait() error
	// Time is the device's seconds for one of so many runs of a graph.
	Time(g driver.Graph, runs int) (float64, error)
}

// gpu is what an exec needs of a device.
type gpu interface {
	memory
	// Queue opens a queue of an exec's own.
	Queue() (queue, func() error, error)
}

// device is the gpu that is one.
type device struct {
	*driver.Device
	lib *cudakern.Library
}

// stream is a queue of a device.
type stream struct {
	d    *device
	s    driver.Stream
	list driver.List
}

func (d *device) Queue() (queue, func() error, error) {
	s, err := d.NewStream()
	if err != nil {
		return nil, nil, err
	}
	return &stream{d: d, s: s}, func() error { return d.FreeStream(s) }, nil
}

func (s *stream) fill(cmds []command) error {
	s.list.Reset(s.s)
	for i := range cmds {
		if err := s.add(&cmds[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *stream) add(c *command) error {
	switch c.kind {
	case launchKernel:
		f, ok := s.d.lib.Function(c.kernel)
		if !ok {
			return fmt.Errorf("kernel %s does not exist", c.kernel)
		}
		s.list.Launch(driver.Launch{Function: f, Name: c.kernel, Grid: c.grid, Block: c.block, Shared: c.shared, Args: c.args, Overlap: c.overlap && s.d.Info.Major >= 9})
	case copyIn:
		s.list.CopyTo(c.dst, c.host)
	case copyOut:
		s.list.CopyFrom(c.host, c.src)
	case fillBytes:
		s.list.Fill(c.dst, 0, c.bytes)
	}
	return nil
}

func (s *stream) Run(cmds []command) error {
	if err := s.fill(cmds); err != nil {
		return err
	}
	return s.d.Submit(&s.list)
}

func (s *stream) Prepare(cmds []command) (driver.Graph, error) {
	if branched(cmds) {
		return s.capture(cmds)
	}
	if err := s.fill(cmds); err != nil {
		return 0, err
	}
	return s.d.Capture(&s.list)
}

func (s *stream) Replay(g driver.Graph) error {
	s.list.Reset(s.s)
	s.list.Graph(g)
	return s.d.Submit(&s.list)
}

func (s *stream) Time(g driver.Graph, runs int) (float64, error) {
	d, err := timed(s.d.Device, s.s, func(l *driver.List) {
		for range runs {
			l.Graph(g)
		}
	})
	return d / float64(runs), err
}

func (s *stream) Drop(g driver.Graph) error { return s.d.FreeGraph(g) }

func (s *stream) Wait() error { return s.d.WaitStream(s.s) }
