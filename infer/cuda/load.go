package cuda

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"edged/cudakern"
	"edged/cudakern/driver"
	"edged/infer/graph"
	"edged/pinnedmem"
)

const (
	// pieceBytes is what goes to the device at once.
	pieceBytes = 4 << 20
	// ringPieces is the most pieces that are on their way.
	ringPieces = 16
)

// loader streams weights to the device through a ring of page-locked pieces.
// Each piece has a thread and a queue of its own: while some are filled, which
// may wait for the disk, others are on the bus or being repacked, and no thread
// waits for another.
type loader struct {
	e      *exec
	arena  *pinnedmem.Arena
	room   arena // device memory for pieces that are repacked
	slots  []slot
	size   int // of a slot
	pieces []piece
	total  int64

	mu   sync.Mutex // guards what follows
	next int        // piece
	left []int      // [weights] pieces that have not been copied yet
}

// piece is a part of a weight that is sent at once.
type piece struct {
	weight int
	data   []byte
	dst    driver.Ptr
	rows   int // of tiles to be packed; 0: data goes to dst as it is
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
	l := &loader{e: e, left: make([]int, len(e.weights))}
	err := l.open()
	if err == nil {
		err = l.all()
	}
	return errors.Join(err, l.close())
}

func (l *loader) open() (err error) {
	l.size = l.pieceSize()
	for i := range l.e.weights {
		l.cut(i)
	}
	l.slots = make([]slot, max(min(l.e.lim.Threads, ringPieces, len(l.pieces)), 1))
	ring := int64(len(l.slots)) * int64(l.size+alignBytes)
	if l.arena, err = l.e.lim.Host.Arena(pinnedmem.Weights, ring, pinnedmem.Options{}); err != nil {
		return err
	}
	if _, err := l.e.backend.gpu.Register(l.arena.Bytes()); err != nil {
		err = errors.Join(err, l.arena.Close())
		l.arena = nil
		return err
	}
	l.room.what = "weights on their way"
	for i := range l.slots {
		s := &l.slots[i]
		if s.host, err = l.arena.Alloc(l.size, alignBytes); err != nil {
			return err
		}
		l.room.want(&s.dev, int64(l.size))
		if s.queue, s.end, err = l.e.backend.gpu.Queue(); err != nil {
			return err
		}
	}
	return l.room.open(l.e.backend)
}

// pieceSize is enough for whole tiles of rows of every weight, and no more than
// the largest weight.
func (l *loader) pieceSize() int {
	size, most := pieceBytes, 0
	for i := range l.e.weights {
		w := &l.e.weights[i]
		l.total += int64(len(w.Data))
		size = max(size, tileRows*w.Type.RowBytes(w.K))
		most = max(most, ceil(w.N, tileRows)*tileRows*w.Type.RowBytes(w.K), len(w.values)*4)
	}
	return max(min(size, most), 1)
}

// cut plans a weight's pieces.
func (l *loader) cut(i int) {
	w := &l.e.weights[i]
	if w.isVector {
		l.cutRaw(i, w.vector, floatBytes(w.values))
	}
	if w.raw != 0 {
		l.cutRaw(i, w.raw, w.Data)
	}
	if w.tiled == 0 {
		return
	}
	rowBytes := w.Type.RowBytes(w.K)
	rows := l.size / rowBytes / tileRows * tileRows
	for row := 0; row < w.N; row += rows {
		n := min(rows, w.N-row)
		l.add(piece{weight: i, data: w.Data[row*rowBytes : (row+n)*rowBytes], rows: n,
			dst: w.tiled.Add(int64(row/tileRows) * int64(w.units()*w.form.bytes))})
	}
}

func (l *loader) cutRaw(i int, dst driver.Ptr, data []byte) {
	for at := 0; at < len(data); at += l.size {
		l.add(piece{weight: i, data: data[at:min(at+l.size, len(data))], dst: dst.Add(int64(at))})
	}
}

func (l *loader) add(p piece) {
	l.pieces = append(l.pieces, p)
	l.left[p.weight]++
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

// all sends every piece and reports weights as they are done.
func (l *loader) all() error {
	if err := l.clear(); err != nil {
		return err
	}
	copied := make(chan int, len(l.e.weights)) // weights
	for i, n := range l.left {
		if n == 0 {
			copied <- i
		}
	}
	var reports sync.WaitGroup
	reports.Go(func() { l.report(copied) })
	g, ctx := errgroup.WithContext(context.Background())
	for i := range l.slots {
		g.Go(func() error { return l.work(ctx, &l.slots[i], copied) })
	}
	err := g.Wait()
	close(copied)
	reports.Wait()
	for i := range l.e.weights {
		l.e.weights[i].values = nil
	}
	return err
}

// clear zeroes what weights do not fill of their tiles.
func (l *loader) clear() error {
	if l.e.weightMem.size == 0 {
		return nil
	}
	b := &l.e.batch
	b.reset()
	b.clear(l.e.weightMem.base, l.e.weightMem.size)
	return errors.Join(l.e.queue.Run(b.cmds), l.e.queue.Wait())
}

// report tells the caller of weights, one after the other, on a goroutine of its
// own: what the caller then does with their memory takes time.
func (l *loader) report(copied <-chan int) {
	var done int64
	for i := range copied {
		w := &l.e.weights[i]
		done += int64(len(w.Data))
		if f := l.e.lim.Loaded; f != nil {
			f(done, l.total)
		}
		if f := l.e.lim.Copied; f != nil && (w.multiplied || w.embedded || w.isVector) {
			f(w.Weight)
		}
	}
}

// work sends pieces through one slot until none is left.
func (l *loader) work(ctx context.Context, s *slot, copied chan<- int) error {
	for ctx.Err() == nil {
		p, ok := l.take()
		if !ok {
			return s.queue.Wait()
		}
		if err := l.send(s, p); err != nil {
			return fmt.Errorf("load weight %s: %w", l.e.weights[p.weight].Name, err)
		}
		if l.sent(p.weight) {
			copied <- p.weight
		}
	}
	return nil
}

func (l *loader) take() (*piece, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next == len(l.pieces) {
		return nil, false
	}
	l.next++
	return &l.pieces[l.next-1], true
}

// sent counts a piece and says whether it was its weight's last.
func (l *loader) sent(weight int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left[weight]--
	return l.left[weight] == 0
}

func (l *loader) send(s *slot, p *piece) error {
	if err := s.queue.Wait(); err != nil {
		return err
	}
	copy(s.host, p.data)
	s.batch.reset()
	if p.rows == 0 {
		s.batch.copyIn(p.dst, s.host[:len(p.data)])
	} else {
		l.pack(s, p)
	}
	return s.queue.Run(s.batch.cmds)
}

// pack repacks whole tiles of rows.
func (l *loader) pack(s *slot, p *piece) {
	w := &l.e.weights[p.weight]
	tiles := ceil(p.rows, tileRows)
	to := span{name: w.Name, at: p.dst, bytes: int64(tiles) * int64(w.units()*w.form.bytes), write: true}
	s.batch.copyIn(s.dev, s.host[:len(p.data)])
	s.batch.launch("pack_tiles", driver.Dim{X: w.units(), Y: tiles}, 32, 0, cudakern.PackTiles{
		W: s.dev, Dst: to.at, Type: uint32(w.Type), N: uint32(p.rows), K: uint32(w.K), RowBytes: uint32(w.Type.RowBytes(w.K)),
		Block: uint32(w.Type.BlockElems()), BlockBytes: uint32(w.Type.BlockBytes()), UnitBytes: uint32(w.form.bytes),
	}, span{name: "piece", at: s.dev, bytes: int64(len(p.data))}, to)
	s.batch.order()
}

// vectorOf is a weight's float32 copy; the zero span for none.
func (e *exec) vectorOf(id graph.WeightID) span {
	if id == graph.NoWeight {
		return span{}
	}
	return e.weights[id].inVector()
}
