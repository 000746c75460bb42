package cuda

import (
	"encoding/binary"
	"fmt"
	"math"

	"edged/cudakern"
	"edged/cudakern/driver"
	"edged/infer/graph"
	"edged/infer/sample"
	"edged/pinnedmem"
)

// Of sample.cu.
const (
	askWords    = 8 // of Ask
	askNarrowed = 1
	askMasked   = 2
	askTotal    = 4

	editBytes   = 8
	narrowHead  = 16 // bytes of Narrow before its keys
	narrowBytes = narrowHead + 8*sample.MaxKeys
	topBlocks   = 64
	topThreads  = 256
	tops        = 1024
	mostSums    = 1024
	noKey       = math.MaxUint64
)

// narrow narrows rows of logits where they are, so that a token costs a copy of a
// kilobyte. What is asked of a row lies in the step's state; edits and masks are
// read from page-locked memory, where a step has any.
type narrow struct {
	most                         int        // rows; 0: none are narrowed
	masks, edits                 driver.Ptr // page-locked [most][maskBytes], [most][MaxEdits]
	work, tops, sums, out, steps driver.Ptr // [most, vocab] float32, [most, tops] uint32, [most, 2, blocks] float64, [most] Narrow, [256] float64
	maskBytes, blocks            int

	hostMasks, hostEdits, hostOut []byte
	rows                          []sample.Narrow
	list                          []*sample.Narrow
	fetch                         func(int) error
}

// plan sizes what narrowing needs. Where a vocabulary has more blocks than the
// kernels sum, its rows stay whole.
func (n *narrow) plan(e *exec) {
	n.blocks = ceil(e.prog.Vocab, sample.SumBlock)
	if n.blocks <= mostSums {
		n.most = e.lim.MaxAsk
	}
	n.maskBytes = ceil(e.prog.Vocab, 64) * 8
	rows := int64(n.most)
	e.bufMem.want(&n.work, rows*int64(e.prog.Vocab)*4)
	e.bufMem.want(&n.tops, rows*tops*4)
	e.bufMem.want(&n.sums, rows*2*int64(n.blocks)*8)
	e.bufMem.want(&n.out, rows*narrowBytes)
	e.bufMem.want(&n.steps, int64(len(sample.ExpSteps()))*8)
}

// bytes is the staging memory of narrowing.
func (n *narrow) bytes() int {
	return n.most*(n.maskBytes+sample.MaxEdits*editBytes+narrowBytes) + len(sample.ExpSteps())*8 + 4*alignBytes
}

// prepare takes staging memory and uploads the table of exponentials.
func (n *narrow) prepare(e *exec) error {
	if n.most == 0 {
		return nil
	}
	n.rows, n.list = make([]sample.Narrow, n.most), make([]*sample.Narrow, n.most)
	n.fetch = func(i int) error { return lost(e.bringRow(i)) }
	table := sample.ExpSteps()
	var steps []byte
	for _, x := range []struct {
		to    *[]byte
		bytes int
	}{{&n.hostMasks, n.most * n.maskBytes}, {&n.hostEdits, n.most * sample.MaxEdits * editBytes}, {&n.hostOut, n.most * narrowBytes}, {&steps, len(table) * 8}} {
		var err error
		if *x.to, err = e.staging.Alloc(x.bytes, alignBytes); err != nil {
			return err
		}
	}
	n.masks, n.edits = e.onDevice(n.hostMasks), e.onDevice(n.hostEdits)
	for i, v := range table {
		binary.NativeEndian.PutUint64(steps[8*i:], math.Float64bits(v))
	}
	e.batch.copyIn(n.steps, steps)
	e.batch.clear(n.out, int64(n.most)*narrowBytes) // rows that are not narrowed are copied too
	return nil
}

// onDevice is the address by which kernels reach staging memory.
func (e *exec) onDevice(b []byte) driver.Ptr {
	return e.stagingAt.Add(int64(driver.Address(b) - driver.Address(e.staging.Bytes())))
}

// fill writes what a step asks of its logits, and says what has to be run for it.
func (n *narrow) fill(e *exec, r *graph.Rows) outcome {
	if len(r.Ask) == 0 || n.most == 0 {
		return outcome{whole: true}
	}
	var o outcome
	for i, a := range r.Ask {
		words := pinnedmem.View[uint32](e.state.host)[e.state.asksAt+i*askWords:][:askWords]
		clear(words)
		if a == nil {
			o.whole = true
			continue
		}
		o.narrow = true
		o.changed = o.changed || a.Mask != nil || a.Edits.Len() > 0
		o.weighed = o.weighed || a.Total || a.Scale != 0
		for j, v := range []float64{a.Scale, a.Quantile} {
			words[2*j], words[2*j+1] = uint32(math.Float64bits(v)), uint32(math.Float64bits(v)>>32)
		}
		words[7] = askNarrowed
		if a.Total {
			words[7] |= askTotal
		}
		if a.Mask != nil {
			words[7] |= askMasked
			copy(pinnedmem.View[uint64](n.hostMasks[i*n.maskBytes:][:n.maskBytes]), a.Mask)
		}
		edits := n.hostEdits[i*sample.MaxEdits*editBytes:]
		for kind, list := range [...][]sample.Edit{a.Edits.Repeat, a.Edits.Subtract, a.Edits.Add} {
			words[4+kind] = uint32(len(list))
			for _, d := range list {
				binary.NativeEndian.PutUint32(edits, uint32(d.ID))
				binary.NativeEndian.PutUint32(edits[4:], math.Float32bits(d.Value))
				edits = edits[editBytes:]
			}
		}
	}
	return o
}

// emit appends what narrows a step's logits, and brings the result.
func (n *narrow) emit(e *exec, b *batch, s shape) {
	logits, vocab := e.buf(e.prog.Logits), uint32(e.prog.Vocab)
	rows, src := s.outs, logits.reading(s.outs)
	asks := e.state.words("asks", e.state.asks, askWords*rows)
	if s.logits.changed {
		work := span{name: "work", at: n.work, bytes: int64(rows) * int64(vocab) * 4, write: true}
		b.launch("sample_mask", driver.Dim{X: ceil(e.prog.Vocab, 256), Y: rows}, 256, 0, cudakern.SampleMask{
			Logits: logits.at, Asks: e.state.asks, Masks: n.masks, Work: n.work, Vocab: vocab, MaskWords: uint32(n.maskBytes / 4),
		}, src, asks, span{name: "masks", at: n.masks, bytes: int64(rows * n.maskBytes)}, work)
		b.launch("sample_edit", driver.Dim{X: rows}, 256, 0, cudakern.SampleEdit{Asks: e.state.asks, Edits: n.edits, Work: n.work, Vocab: vocab, Most: sample.MaxEdits},
			asks, span{name: "edits", at: n.edits, bytes: int64(rows) * sample.MaxEdits * editBytes}, work)
		src = work
		src.write = false
	}
	best := span{name: "tops", at: n.tops, bytes: int64(rows) * tops * 4}
	out := span{name: "narrowed", at: n.out, bytes: int64(rows) * narrowBytes}
	b.launch("sample_tops", driver.Dim{X: topBlocks, Y: rows}, topThreads, 0, cudakern.SampleTops{Logits: src.at, Asks: e.state.asks, Tops: n.tops, Vocab: vocab}, src, asks, best.writing())
	b.launch("sample_pick", driver.Dim{X: rows}, tops, 0, cudakern.SamplePick{Logits: src.at, Tops: n.tops, Asks: e.state.asks, Out: n.out, Vocab: vocab}, src, best, asks, out.writing())
	if s.logits.weighed {
		steps := span{name: "exponentials", at: n.steps, bytes: int64(len(sample.ExpSteps())) * 8}
		sums := span{name: "sums", at: n.sums, bytes: int64(rows*2*n.blocks) * 8}
		b.launch("sample_sums", driver.Dim{X: n.blocks, Y: rows}, sample.SumBlock, 0, cudakern.SampleSums{
			Logits: src.at, Asks: e.state.asks, Out: n.out, Steps: n.steps, Sums: n.sums, Vocab: vocab,
		}, src, asks, out, steps, sums.writing())
		b.launch("sample_draw", driver.Dim{X: rows}, sample.SumBlock, 0, cudakern.SampleDraw{
			Logits: src.at, Asks: e.state.asks, Steps: n.steps, Sums: n.sums, Out: n.out, Vocab: vocab, Blocks: uint32(n.blocks),
		}, src, asks, steps, sums, out.writing())
	}
	b.copyOut(n.hostOut[:rows*narrowBytes], n.out)
}

// read is what a step has narrowed its rows to.
func (n *narrow) read(asks []*sample.Ask) []*sample.Narrow {
	for i, a := range asks {
		n.list[i] = nil
		if a == nil {
			continue
		}
		b := n.hostOut[i*narrowBytes:][:narrowBytes]
		keys := pinnedmem.View[uint64](b[narrowHead:])
		found := 0
		for found < len(keys) && keys[found] != noKey {
			found++
		}
		n.rows[i] = sample.Narrow{
			Keys: keys[:found], Total: math.Float64frombits(binary.NativeEndian.Uint64(b)),
			Drawn: int32(binary.NativeEndian.Uint32(b[8:])), Logit: math.Float32frombits(binary.NativeEndian.Uint32(b[12:])),
		}
		n.list[i] = &n.rows[i]
	}
	return n.list[:len(asks)]
}

// bringRow brings a row of the last step whole.
func (e *exec) bringRow(i int) error {
	row := 4 * e.prog.Vocab
	e.batch.reset()
	e.batch.copyOut(e.answer[i*row:(i+1)*row], e.buf(e.prog.Logits).row(i))
	if err := e.queue.Run(e.batch.cmds); err != nil {
		return fmt.Errorf("copy row %d of logits: %w", i, err)
	}
	return e.queue.Wait()
}
