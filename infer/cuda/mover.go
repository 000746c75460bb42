package cuda

import (
	"errors"

	"edged/cudakern/driver"
	"edged/offload"
)

// moverLanes is the goroutines that copy at once, laneStaging the page-locked memory of
// each: copies from anywhere go through it, as many at a time as fit.
const moverLanes, laneStaging = 8, 1 << 20

// mover copies between the processor's memory and managed memory, which stays on the
// device: pages that the processor touched itself would move there and back.
type mover struct {
	b     *Backend
	lanes chan *moverLane // [moverLanes] that are free; nil ones are not open yet
}

// moverLane copies in order.
type moverLane struct {
	stream driver.Stream
	list   driver.List
	mem    []byte // page-locked
	used   int
	out    []offload.Pair // from mem, once the device has written it
}

func newMover(b *Backend) *mover {
	m := &mover{b: b, lanes: make(chan *moverLane, moverLanes)}
	for range moverLanes {
		m.lanes <- nil
	}
	return m
}

// Mover copies to and from pools' memory on the device.
func (b *Backend) Mover() offload.Mover { return b.mover }

// Move implements offload.Mover.
func (m *mover) Move(pairs []offload.Pair) error {
	if len(pairs) == 0 {
		return nil
	}
	lane := <-m.lanes
	defer func() { m.lanes <- lane }()
	if lane == nil {
		var err error
		if lane, err = m.open(); err != nil {
			return err
		}
	}
	lane.reset()
	for _, p := range pairs {
		if err := m.move(lane, p); err != nil {
			return errors.Join(err, m.b.dev.WaitStream(lane.stream))
		}
	}
	return m.flush(lane)
}

func (m *mover) open() (*moverLane, error) {
	s, err := m.b.dev.NewStream()
	if err != nil {
		return nil, err
	}
	mem, err := m.b.dev.AllocHost(laneStaging)
	if err != nil {
		return nil, errors.Join(err, m.b.dev.FreeStream(s))
	}
	return &moverLane{stream: s, mem: mem}, nil
}

func (l *moverLane) reset() {
	l.list.Reset(l.stream)
	l.used, l.out = 0, l.out[:0]
}

func (m *mover) move(l *moverLane, p offload.Pair) error {
	to, from := m.b.owns(p.Dst), m.b.owns(p.Src)
	switch {
	case to && from:
		l.list.Copy(driver.Address(p.Dst), driver.Address(p.Src), int64(len(p.Dst)))
		return nil
	case !to && !from:
		copy(p.Dst, p.Src)
		return nil
	}
	for n := 0; len(p.Dst) > 0; p.Dst, p.Src = p.Dst[n:], p.Src[n:] {
		if l.used == len(l.mem) {
			if err := m.flush(l); err != nil {
				return err
			}
		}
		n = min(len(p.Dst), len(l.mem)-l.used)
		mem := l.mem[l.used : l.used+n]
		l.used += n
		if to {
			copy(mem, p.Src)
			l.list.CopyTo(driver.Address(p.Dst), mem)
			continue
		}
		l.list.CopyFrom(mem, driver.Address(p.Src))
		l.out = append(l.out, offload.Pair{Dst: p.Dst[:n], Src: mem})
	}
	return nil
}

// flush waits for what was begun.
func (m *mover) flush(l *moverLane) error {
	if err := errors.Join(m.b.dev.Submit(&l.list), m.b.dev.WaitStream(l.stream)); err != nil {
		return err
	}
	for _, p := range l.out {
		copy(p.Dst, p.Src)
	}
	l.reset()
	return nil
}

// close gives lanes back that nobody uses any more.
func (m *mover) close() error {
	var errs []error
	for range moverLanes {
		if l := <-m.lanes; l != nil {
			errs = append(errs, m.b.dev.FreeHost(l.mem), m.b.dev.FreeStream(l.stream))
		}
	}
	return errors.Join(errs...)
}

// owns says whether memory lies on the device.
func (b *Backend) owns(mem []byte) bool {
	at := driver.Address(mem)
	b.mu.Lock()
	defer b.mu.Unlock()
	for base, n := range b.ours {
		if at >= base && at < base.Add(n) {
			return true
		}
	}
	return false
}
