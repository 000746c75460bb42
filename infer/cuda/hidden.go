package cuda

import (
	"errors"

	"edged/cudakern/driver"
	"edged/infer/graph"
	"edged/offload"
	"edged/pinnedmem"
)

// waiting is where the hidden states of a prompt's rows wait between parts: in
// page-locked host memory, and those of the rows at hand in one of three buffers
// on the device, which steps between parts leave alone. While a part runs over these, the rows before them leave and the
// next ones come, on a queue of their own. Rows that a part before has left where
// they are needed stay there: a short prompt never crosses the bus.
type waiting struct {
	host   []byte // [Context, width] float32
	arena  *pinnedmem.Arena
	copies queue
	end    func() error
	batch  batch
	failed error // of Hidden, which cannot say so

	at    [3]driver.Ptr // [MaxRows, width] float32
	now   int           // the buffer at hand
	have  heldRows      // in it
	dirty bool          // host memory lacks them
	next  heldRows      // on their way to the buffer behind it
	chunk int           // rows of a part's first chunk
}

// heldRows are adjacent rows of a prompt as a part needs them.
type heldRows struct {
	q              *offload.Seq
	part, first, n int
	at             int // row of host memory
}

func (h heldRows) in(w *waiting, row int) []byte { return w.host[h.at*row : (h.at+h.n)*row] }

func (e *exec) width() int { return e.prog.Buffers[e.prog.Hidden].Width }

// planWaiting plans the buffers.
func (e *exec) planWaiting() {
	if !e.layerMajor() {
		return
	}
	for i := range e.waiting.at {
		e.bufMem.want(&e.waiting.at[i], int64(e.lim.MaxRows)*int64(e.width())*4)
	}
}

// waitingBytes is the host memory of a whole prompt's hidden states.
func (e *exec) waitingBytes() int64 { return int64(e.lim.Context) * int64(e.width()) * 4 }

// openWaiting takes the host memory.
func (e *exec) openWaiting() (err error) {
	if !e.layerMajor() {
		return nil
	}
	w, n := &e.waiting, e.waitingBytes()
	if w.arena, err = e.lim.Host.Arena(pinnedmem.Prefill, n, pinnedmem.Options{Huge: true}); err != nil {
		return err
	}
	if _, err = e.backend.gpu.Register(w.arena.Bytes()); err != nil {
		_ = w.arena.Close() // the failure to lock it is what counts
		w.arena = nil
		return err
	}
	w.host = w.arena.Bytes()[:n]
	w.copies, w.end, err = e.backend.gpu.Queue()
	return err
}

func (e *exec) closeWaiting() error {
	w := &e.waiting
	var errs []error
	if w.copies != nil {
		errs = append(errs, w.copies.Wait(), w.end())
	}
	if w.arena != nil {
		errs = append(errs, e.backend.gpu.Unregister(w.arena.Bytes()), w.arena.Close())
	}
	e.waiting = waiting{}
	return errors.Join(errs...)
}

var _ graph.HiddenStates = (*exec)(nil)

// Hidden implements graph.HiddenStates. Whoever writes to it changes what the next
// part begins with, so nothing stays on the device.
func (e *exec) Hidden(n int) []float32 {
	w := &e.waiting
	w.failed = errors.Join(w.failed, e.settle())
	return pinnedmem.View[float32](w.host)[:n*e.width()]
}

// settle brings host memory up to date and forgets what the device holds.
func (e *exec) settle() error {
	w := &e.waiting
	if w.copies == nil {
		return nil
	}
	w.batch.reset()
	e.leave(w.now, w.have)
	return errors.Join(w.run(), w.copies.Wait(), w.forget())
}

func (w *waiting) forget() error {
	err := w.failed
	w.have, w.next, w.dirty, w.failed = heldRows{}, heldRows{}, false, nil
	return err
}

func (w *waiting) run() error {
	if len(w.batch.cmds) == 0 {
		return nil
	}
	return w.copies.Run(w.batch.cmds)
}

// leave appends the copy of a buffer's rows to host memory, if that lacks them.
func (e *exec) leave(buffer int, h heldRows) {
	if w := &e.waiting; w.dirty {
		w.batch.copyOut(h.in(w, e.width()*4), w.at[buffer])
		w.dirty = false
	}
}

// recall makes the buffer at hand that of a part's rows, with what they are.
func (e *exec) recall(part int, rows *graph.Rows, q *offload.Seq) error {
	w, first := &e.waiting, int(rows.Pos[0])
	w.batch.reset()
	want := heldRows{q: q, part: part, first: first, n: len(rows.Pos), at: first - q.Len()}
	if part > 0 && w.have == want {
		return nil
	}
	before, held := w.now, w.have
	w.now = (w.now + 1) % len(w.at)
	if part > 0 && w.next != want {
		e.leave(before, held)
		e.fetch(rows, q)
		if err := w.run(); err != nil {
			return err
		}
		w.batch.reset()
	}
	err := w.copies.Wait()
	e.leave(before, held) // beside the part
	w.have, w.next = want, heldRows{}
	return err
}

// fetch appends copies of rows, which need not be adjacent in a head.
func (e *exec) fetch(rows *graph.Rows, q *offload.Seq) {
	w, row := &e.waiting, e.width()*4
	for lo := 0; lo < len(rows.Pos); {
		hi := lo + 1
		for hi < len(rows.Pos) && rows.Pos[hi] == rows.Pos[hi-1]+1 {
			hi++
		}
		h := heldRows{n: hi - lo, at: int(rows.Pos[lo]) - q.Len()}
		w.batch.copyIn(w.at[w.now].Add(int64(lo*row)), h.in(w, row))
		lo = hi
	}
}

// foresee brings the rows that will be wanted after those at hand, and sends off
// those before them, while the part runs.
func (e *exec) foresee(part int, rows *graph.Rows, q *offload.Seq) error {
	w, first, n, end, head := &e.waiting, int(rows.Pos[0]), len(rows.Pos), q.Prefilling(), len(e.parts)-1
	if first == q.Len() || w.chunk == 0 {
		w.chunk = n
	}
	next := heldRows{q: q, part: part, first: first + n}
	if next.first >= end {
		next.part, next.first = part+1, q.Len()
	}
	next.n, next.at = min(w.chunk, end-next.first), next.first-q.Len()
	// Those at hand are not in host memory yet, and the head has rows of its own.
	if next.part > 0 && next.first != first && next.part < head {
		w.next = next
		w.batch.copyIn(w.at[(w.now+1)%len(w.at)], next.in(w, e.width()*4))
	}
	w.have = heldRows{q: q, part: part + 1, first: first, n: n, at: first - q.Len()}
	w.dirty = part < head
	return w.run()
}
