package infer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"edged/infer/graph"
	"edged/offload"
	"edged/pinnedmem"
)

// A checkpoint keeps how far the first prompt of a session has been read, so that
// a caller that leaves, a crash or a power loss costs what came after it, and not all.
// A prompt that is read in steps has whole blocks of tokens; one that is read layer by
// layer has layers, and the hidden states that the next one goes on from.

// hiddenPart is the tail's part of hidden states, behind those of all layers.
const hiddenPart = 1<<16 - 1

// Staged is what is new of a prompt that is being read.
type Staged struct {
	Tokens []int32 // of the request
	Tail   []offload.Part

	blocks []func() []offload.Part
	first  int
}

// First is the number of the first block that has something new.
func (s *Staged) First() int { return s.first }

// Blocks is the number of blocks, from First on, that have something new.
func (s *Staged) Blocks() int { return len(s.blocks) }

// Block is the new parts of a block, by its place among them, in place.
func (s *Staged) Block(i int) []offload.Part { return s.blocks[i]() }

// checkpoints is a task's part in this.
type checkpoints struct {
	last   time.Time // of the last one, or of the prompt's begin
	blocks int       // that are kept
	layers int       // that are kept
	off    bool      // the Keeper has failed
	now    *staging  // nil: none is on its way
}

// staging is a checkpoint on its way to the Keeper.
type staging struct {
	hold *offload.HeldBlocks // nil where the sequence itself is read
	seq  *offload.Seq        // of a task that has left; freed when it is over

	// Guarded by Engine.mu.
	over bool
	err  error
}

// checkpoint begins one, when the time has come. It returns false while the
// task's prompt must not be read further: hidden states are saved in place.
func (o *owner) checkpoint(t *task) bool {
	c := &t.points
	if s := c.now; s != nil {
		o.e.mu.Lock()
		over, err := s.over, s.err
		o.e.mu.Unlock()
		if !over {
			return s.hold != nil
		}
		if c.now = nil; err != nil {
			c.off = true
			o.log.Warn("a prompt's progress cannot be saved; it would be lost with this process", "request", t.id, "error", err)
		}
		c.last = time.Now()
	}
	if !o.checkpoints(t) {
		return true
	}
	if c.last.IsZero() {
		c.last = time.Now()
	}
	if time.Since(c.last) < o.cfg.Checkpoint {
		return true
	}
	if t.seq.Prefilling() > 0 {
		return !o.stageLayers(t)
	}
	o.stageBlocks(t)
	return true
}

// checkpoints says whether a task's prompt is one that is kept while it is read: a
// session's first, because the tail of a checkpoint takes the place of a turn's.
func (o *owner) checkpoints(t *task) bool {
	return t.session != nil && len(t.session.Tokens) == 0 && t.seq != nil && t.generated() == 0 && !t.points.off && t.pending() > 1
}

// stageBlocks saves the whole blocks that are new.
func (o *owner) stageBlocks(t *task) {
	s := &Staged{Tokens: t.ids[:t.nPrompt], first: t.points.blocks}
	h := t.seq.HoldBlocks(s.first)
	for i := s.first; i < h.Next(); i++ {
		s.blocks = append(s.blocks, func() []offload.Part { return h.Block(i) })
	}
	if len(s.blocks) == 0 {
		h.Release()
		return
	}
	t.points.blocks = h.Next()
	n := h.Next() * offload.BlockTok
	s.Tail = []offload.Part{{ID: offload.StatePart, Data: []offload.Piece{offload.InMemory(headway{tokens: n, hash: hashTokens(t.ids[:n])}.encode())}}}
	o.stage(t, &staging{hold: h}, s)
}

// stageLayers saves the layers that are new, and the hidden states behind them.
func (o *owner) stageLayers(t *task) bool {
	done := t.reading.part
	if t.reading.done > 0 || done <= t.points.layers || done >= len(o.res.prog.KV) {
		return false
	}
	states, ok := o.res.exec.(graph.HiddenStates)
	if !ok {
		return false
	}
	ahead, err := t.seq.Ahead()
	if err != nil {
		return false // it goes on from another sequence's tokens
	}
	tail, err := ahead.Tail(done)
	if err != nil {
		o.log.Warn("a prompt's progress cannot be read; it would be lost with this process", "request", t.id, "error", err)
		t.points.off = true
		return false
	}
	s, from := &Staged{Tokens: t.ids[:t.nPrompt]}, t.points.layers
	for i := range ahead.Blocks() {
		s.blocks = append(s.blocks, func() []offload.Part { return ahead.Block(i, from, done) })
	}
	t.points.layers = done
	n := t.seq.Prefilling()
	s.Tail = tail
	s.Tail[0].Data = append([]offload.Piece{offload.InMemory(headway{tokens: n, layers: done, hash: hashTokens(t.ids[:n])}.encode())}, s.Tail[0].Data...)
	s.Tail = append(s.Tail, offload.Part{ID: hiddenPart, Data: []offload.Piece{offload.InMemory(pinnedmem.Bytes(states.Hidden(n)))}})
	o.stage(t, &staging{}, s)
	return true
}

func (o *owner) stage(t *task, s *staging, what *Staged) {
	t.points.now = s
	o.stagings = append(o.stagings, s)
	go o.e.stage(t.ctx, s, t.keeper, o.res.key, what)
}

// stage is a staging's goroutine.
func (e *Engine) stage(ctx context.Context, s *staging, k Keeper, key Key, what *Staged) {
	err := func() (err error) {
		defer catch(&err)
		return k.Stage(ctx, key, what)
	}()
	e.mu.Lock()
	s.over, s.err = true, err
	e.mu.Unlock()
	e.wakeOwner()
}

// pinned says whether a staging reads the task's sequence.
func (t *task) pinned() bool { return t.points.now != nil && t.points.now.hold == nil }

// leaveStaging keeps the memory that a staging reads until it is over, and says
// whether that is the task's sequence itself.
func (t *task) leaveStaging() bool {
	pinned := t.pinned()
	if pinned {
		t.points.now.seq = t.seq
	}
	t.points.now = nil
	return pinned
}

// headway is how far a prompt has been read.
type headway struct {
	tokens int
	layers int // that have read all of tokens; 0: all have
	hash   [sha256.Size]byte
}

// headwayHeader is the encoded form, little-endian, before the state of
// [offload.Ahead] where layers are done.
type headwayHeader struct {
	Magic          [8]byte
	Tokens, Layers uint32
	Hash           [sha256.Size]byte
}

var headwayMagic = [8]byte{'e', 'd', 'g', 'e', 'd', 'p', 'r', '1'}

func (r headway) encode() []byte {
	b, _ := binary.Append(nil, binary.LittleEndian, headwayHeader{headwayMagic, uint32(r.tokens), uint32(r.layers), r.hash}) // fixed size
	return b
}

// decodeHeadway splits a state that begins with a headway; ok is false for others.
func decodeHeadway(state []byte) (r headway, rest []byte, ok bool) {
	var h headwayHeader
	n, err := binary.Decode(state, binary.LittleEndian, &h)
	if err != nil || h.Magic != headwayMagic {
		return headway{}, state, false
	}
	return headway{int(h.Tokens), int(h.Layers), h.Hash}, state[n:], true
}

// of says whether a task's prompt is the one that was being read. Layers have to
// have read all of it.
func (r headway) of(t *task) bool {
	fits := r.tokens < len(t.ids) && r.layers == 0 || r.tokens == len(t.ids) && r.layers > 0
	return fits && hashTokens(t.ids[:r.tokens]) == r.hash
}

func hashTokens(ids []int32) [sha256.Size]byte {
	h := sha256.New()
	h.Write(pinnedmem.Bytes(ids))
	return [sha256.Size]byte(h.Sum(nil))
}

// placeHidden is where a span of hidden states goes.
func placeHidden(to []float32, x Span) ([]offload.Target, error) {
	b := pinnedmem.Bytes(to)
	if x.Off < 0 || x.Off+x.Size > int64(len(b)) {
		return nil, fmt.Errorf("%w: hidden states of %d bytes from byte %d on, there are %d", offload.ErrSnapshot, x.Size, x.Off, len(b))
	}
	return []offload.Target{{Mem: b[x.Off : x.Off+x.Size]}}, nil
}
