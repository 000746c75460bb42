package cuda

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"

	"edged/cudakern"
	"edged/cudakern/driver"
	"edged/infer/graph"
	"edged/pinnedmem"
)

const (
	// pieceBytes is what goes to the device at once.
	pieceBytes = 16 << 20
	// copyBytes is what one goroutine copies at a time: page faults of the model
	// file's mapping, which wait for the disk, are spread over many.
	copyBytes = 1 << 20
)

// loader streams weights to the device through two pieces of page-locked
// memory, each with a queue of its own: while one is on its way, the other is
// filled.
type loader struct {
	e     *exec
	arena *pinnedmem.Arena
	room  arena // device memory for pieces that are repacked
	slots [2]slot
	next  int
	total int64
	done  int64
}

type slot struct {
	host  []byte
	dev   driver.Ptr
	queue queue
	end   func() error
	batch batch
}

// loadWeights brings all weights to the device.
func (e *exec) loadWeights() error {
	l := &loader{e: e}
	err := l.open()
	if err == nil {
		err = l.all()
	}
	return errors.Join(err, l.close())
}

func (l *loader) open() (err error) {
	piece := int64(pieceBytes)
	var most int64
	for i := range l.e.weights {
		w := &l.e.weights[i]
		l.total += int64(len(w.Data))
		// Whole tiles of rows at least, and no more than the largest weight.
		piece = max(piece, int64(tileRows*w.Type.RowBytes(w.K)))
		most = max(most, int64(ceil(w.N, tileRows)*tileRows*w.Type.RowBytes(w.K)), int64(len(w.values))*4)
	}
	piece = max(min(piece, most), 1)
	if l.arena, err = l.e.lim.Host.Arena(pinnedmem.Weights, 2*(piece+alignBytes), pinnedmem.Options{}); err != nil {
		return err
	}
	if _, err := l.e.backend.gpu.Register(l.arena.Bytes()); err != nil {
		return err
	}
	l.room.what = "weights on their way"
	for i := range l.slots {
		s := &l.slots[i]
		if s.host, err = l.arena.Alloc(int(piece), alignBytes); err != nil {
			return err
		}
		l.room.want(&s.dev, piece)
		if s.queue, s.end, err = l.e.backend.gpu.Queue(); err != nil {
			return err
		}
	}
	return l.room.open(l.e.backend.gpu)
}

func (l *loader) close() error {
	var errs []error
	for i := range l.slots {
		if s := &l.slots[i]; s.queue != nil {
			errs = append(errs, s.queue.Wait(), s.end())
		}
	}
	errs = append(errs, l.room.close(l.e.backend.gpu))
	if l.arena != nil {
		errs = append(errs, l.e.backend.gpu.Unregister(l.arena.Bytes()), l.arena.Close())
	}
	return errors.Join(errs...)
}

func (l *loader) all() error {
	for i := range l.e.weights {
		w := &l.e.weights[i]
		if err := l.one(w); err != nil {
			return fmt.Errorf("load weight %s: %w", w.Name, err)
		}
		l.done += int64(len(w.Data))
		if f := l.e.lim.Loaded; f != nil {
			f(l.done, l.total)
		}
		if f := l.e.lim.Copied; f != nil && (w.multiplied || w.embedded || w.isVector) {
			f(w.Weight)
		}
	}
	return nil
}

func (l *loader) one(w *weight) error {
	if w.isVector {
		if err := l.raw(w.vector, floatBytes(w.values)); err != nil {
			return err
		}
		w.values = nil
	}
	if w.raw != 0 {
		if err := l.raw(w.raw, w.Data); err != nil {
			return err
		}
	}
	if w.tiled != 0 {
		return l.tile(w)
	}
	return nil
}

// take is a free piece, filled with data.
func (l *loader) take(data []byte) (*slot, error) {
	s := &l.slots[l.next]
	l.next = 1 - l.next
	if err := s.queue.Wait(); err != nil {
		return nil, err
	}
	s.batch.reset()
	var g errgroup.Group
	g.SetLimit(max(l.e.lim.Threads, 1))
	for at := 0; at < len(data); at += copyBytes {
		g.Go(func() error {
			copy(s.host[at:], data[at:min(at+copyBytes, len(data))])
			return nil
		})
	}
	return s, g.Wait()
}

func (l *loader) raw(dst driver.Ptr, data []byte) error {
	for at := 0; at < len(data); at += len(l.slots[0].host) {
		piece := data[at:min(at+len(l.slots[0].host), len(data))]
		s, err := l.take(piece)
		if err != nil {
			return err
		}
		s.batch.copyIn(dst.Add(int64(at)), s.host[:len(piece)])
		if err := s.queue.Run(s.batch.cmds); err != nil {
			return err
		}
	}
	return nil
}

// tile repacks whole tiles of rows at a time.
func (l *loader) tile(w *weight) error {
	rowBytes := w.Type.RowBytes(w.K)
	rows := len(l.slots[0].host) / rowBytes / tileRows * tileRows
	for row := 0; row < w.N; row += rows {
		n := min(rows, w.N-row)
		piece := w.Data[row*rowBytes : (row+n)*rowBytes]
		s, err := l.take(piece)
		if err != nil {
			return err
		}
		tiles := ceil(n, tileRows)
		to := span{name: w.Name, at: w.tiled.Add(int64(row/tileRows) * int64(w.units()*w.form.bytes)), bytes: int64(tiles) * int64(w.units()*w.form.bytes), write: true}
		s.batch.copyIn(s.dev, s.host[:len(piece)])
		s.batch.clear(to.at, to.bytes)
		s.batch.launch("pack_tiles", driver.Dim{X: w.units(), Y: tiles}, 32, 0, cudakern.PackTiles{
			W: s.dev, Dst: to.at, Type: uint32(w.Type), N: uint32(n), K: uint32(w.K), RowBytes: uint32(rowBytes),
			Block: uint32(w.Type.BlockElems()), BlockBytes: uint32(w.Type.BlockBytes()), UnitBytes: uint32(w.form.bytes),
		}, span{name: "piece", at: s.dev, bytes: int64(len(piece))}, to)
		// The copy and the clearing are not the kernel's to wait for.
		s.batch.cmds[len(s.batch.cmds)-1].overlap = false
		if err := s.queue.Run(s.batch.cmds); err != nil {
			return err
		}
	}
	runtime.KeepAlive(w.Data)
	return nil
}

// vectorOf is a weight's float32 copy; the zero span for none.
func (e *exec) vectorOf(id graph.WeightID) span {
	if id == graph.NoWeight {
		return span{}
	}
	return e.weights[id].inVector()
}
