package cuda

import (
	"context"
	"errors"
	"fmt"

	"edged/cudakern"
	"edged/cudakern/driver"
	"edged/infer/graph"
	"edged/offload"
)

// Part implements graph.Exec. A layer's tokens lie exact in the stage while its
// rows attend to them: with the first rows come those before the prompt, and
// with the last one all leave as records and as the tail.
func (e *exec) Part(ctx context.Context, part int, rows *graph.Rows, q *offload.Seq) (graph.Logits, error) {
	l, err := e.part(ctx, part, rows, q)
	if err != nil {
		return l, fmt.Errorf("run part %d on cuda: %w", part, lost(err))
	}
	return l, nil
}

func (e *exec) part(ctx context.Context, part int, rows *graph.Rows, q *offload.Seq) (graph.Logits, error) {
	kv := []*offload.Seq{q}
	switch {
	case e.queue == nil:
		return graph.Logits{}, errClosed
	case !e.layerMajor():
		return graph.Logits{}, fmt.Errorf("%w: its sequences read prompts in steps", graph.ErrRows)
	}
	if err := live(kv); err != nil {
		return graph.Logits{}, err
	}
	if err := e.bind(kv); err != nil {
		return graph.Logits{}, err
	}
	if err := errors.Join(rows.CheckPart(e.prog, part, e.lim, q), ctx.Err()); err != nil {
		return graph.Logits{}, err
	}
	s := e.state.fill(rows, true)
	s.logits.whole = true
	e.state.sequence(0, q, q.Prefilling())
	err := errors.Join(e.waiting.failed, e.updateTables(rows, kv))
	if err == nil {
		err = e.runPart(s, part, rows, q)
	}
	// Staging memory is the device's until it has read it, also after an error.
	if err := errors.Join(err, e.queue.Wait()); err != nil {
		return graph.Logits{}, errors.Join(err, e.waiting.copies.Wait(), e.waiting.forget())
	}
	return e.logitsOf(s), nil
}

// runPart queues a part, and beside it copies of the rows before and after its own.
func (e *exec) runPart(s shape, part int, rows *graph.Rows, q *offload.Seq) error {
	if err := e.recall(part, rows, q); err != nil {
		return err
	}
	x := e.buf(e.prog.Hidden)
	own := x.at
	x.at = e.waiting.at[e.waiting.now]
	defer func() { x.at = own }()
	e.batch.reset()
	e.begin(&e.batch)
	if part < len(e.parts)-1 {
		e.layerPart(&e.batch, s, part, rows, q)
	} else {
		e.run(&e.batch, s, part)
		e.end(&e.batch, s)
	}
	e.batch.order()
	if err := e.queue.Run(e.batch.cmds); err != nil {
		return err
	}
	return e.foresee(part, rows, q)
}

// layerPart appends one layer's commands.
func (e *exec) layerPart(b *batch, s shape, part int, rows *graph.Rows, q *offload.Seq) {
	staged := e.lim.KV[part].Class != offload.Exact
	if staged && int(rows.Pos[0]) == q.Len() {
		e.stageIn(b, part, q)
	}
	e.run(b, s, part)
	if last := rows.Pos[len(rows.Pos)-1]; staged && int(last)+1 == q.Prefilling() {
		e.stageOut(b, s, part, q)
	}
}

// run appends the nodes of a part.
func (e *exec) run(b *batch, s shape, part int) {
	nodes := e.nodesOf(s, e.parts[part])
	if part+1 < len(e.parts) {
		nodes = nodes[:e.parts[part+1]-e.parts[part]]
	}
	for _, n := range nodes {
		if !e.ahead[n] {
			n.emit(b, s)
		}
	}
}

// stageIn brings the tokens before the prompt to the stage. Cold records cross
// the bus once.
func (e *exec) stageIn(b *batch, layer int, q *offload.Seq) {
	plan, c, spec := e.lim.KV[layer], &e.caches[layer], e.prog.KV[layer]
	if r, err := plan.Record(); err == nil && plan.Class.Stored() && q.Stored() > 0 {
		pages := q.Stored() / offload.PageTok
		e.launchUnpack(b, layer, r, pages)
		if plan.Class.Cold() {
			e.pool.Count(offload.Traffic{Prompt: int64(q.Stored() / plan.Group * spec.KVHeads * r.Once())})
		}
	}
	ring := plan.Tail / offload.PageTok
	for page := q.StageFrom(layer) / offload.PageTok; page < ceil(q.Len(), offload.PageTok); page++ {
		b.move(e.staged(page, c.pageBytes), c.tailPage(q.Slot(), page, ring))
	}
}

func (e *exec) launchUnpack(b *batch, layer int, r offload.Record, pages int) {
	c, spec := &e.caches[layer], e.prog.KV[layer]
	b.launch("unpack_records", driver.Dim{X: pages, Y: spec.KVHeads}, unpackThreads, r.Once()*(1+int(flag(r.Group == offload.ColdTok))), cudakern.UnpackRecords{
		Units: c.units.at, Table: e.tables.of(layer), Pages: e.stage.at, UnitBytes: uint64(c.unitBytes), PageBytes: uint64(c.pageBytes),
		KVHeads: uint32(spec.KVHeads), Dim: uint32(spec.HeadDim), RecordBytes: uint32(r.Bytes), Group: uint32(r.Group), KBits: uint32(r.Elem.KBits()), VBits: uint32(r.Elem.VBits()),
	}, c.units, e.tables.span(), span{name: "stage", at: e.stage.at, bytes: int64(pages) * int64(c.pageBytes), write: true})
}

// stageOut writes the prompt's records, and what the layer's tail will hold to
// where it waits for the prompt's end.
func (e *exec) stageOut(b *batch, s shape, layer int, q *offload.Seq) {
	plan, c := e.lim.KV[layer], &e.caches[layer]
	if from, to := q.Flush(q.Prefilling()); plan.Class.Stored() && from < to {
		e.newStore(layer).store(b, s, ceil(to, offload.BlockTok)-from/offload.BlockTok, 1)
	}
	ring, end := plan.Tail/offload.PageTok, ceil(q.Prefilling(), offload.PageTok)
	for page := max(end-ring, 0); page < end; page++ {
		src := e.staged(page, c.pageBytes)
		if page < q.StageFrom(layer)/offload.PageTok {
			src = c.tailPage(q.Slot(), page, ring)
		}
		b.move(pageOf(c.pending, page%ring, c.pageBytes), src)
	}
}

// staged is a page of the stage, tailPage one of a sequence's tail.
func (e *exec) staged(page, bytes int) span {
	return pageOf(span{name: "stage", at: e.stage.at, bytes: e.stage.bytes}, page, bytes)
}

func (c *cache) tailPage(slot, page, ring int) span {
	return pageOf(c.tails, slot*ring+page%ring, c.pageBytes)
}

func pageOf(s span, i, bytes int) span {
	return span{name: s.name, at: s.at.Add(int64(i) * int64(bytes)), bytes: int64(bytes)}
}

// moveBlocks is the blocks of a move: enough for a page of many heads.
const moveBlocks = 16

// move copies between memory of any kind.
func (b *batch) move(dst, src span) {
	b.launch("move_bytes", driver.Dim{X: moveBlocks}, moveThreads, 0, cudakern.MoveBytes{Src: src.at, Dst: dst.at, Bytes: uint64(src.bytes)}, src, dst.writing())
}
