package graph

import (
	"errors"
	"fmt"
)

// ErrProgram is wrapped by every error of Validate.
var ErrProgram = errors.New("program is malformed")

// Validate checks every op's shapes against the buffers, weights and cache
// layers that it names.
func (p *Program) Validate() error {
	if p.Vocab <= 0 || p.Context <= 0 || len(p.KV) == 0 || len(p.Ops) == 0 {
		return fmt.Errorf("validate program %s: %w: vocab %d, context %d, %d layers, %d ops", p.Name, ErrProgram, p.Vocab, p.Context, len(p.KV), len(p.Ops))
	}
	if err := errors.Join(p.width(p.Logits, p.Vocab), p.rows(OutRows, p.Logits)); err != nil {
		return fmt.Errorf("validate program %s: %w: logits: %w", p.Name, ErrProgram, err)
	}
	for i, op := range p.Ops {
		if err := op.check(p); err != nil {
			return fmt.Errorf("validate program %s: %w: op %d: %w", p.Name, ErrProgram, i, err)
		}
	}
	return errors.Join(p.checkParts(), p.checkFinal())
}

// checkParts checks that every part has ops and that layers stand in theirs.
func (p *Program) checkParts() error {
	if len(p.Parts) == 0 {
		return nil
	}
	bad := len(p.Parts) != len(p.KV)+1 || p.Parts[0] != 0 || p.width(p.Hidden, p.bufWidth(p.Hidden)) != nil
	for i := range p.Parts {
		bad = bad || i > 0 && p.Parts[i] <= p.Parts[i-1] || p.Parts[i] >= len(p.Ops)
	}
	if bad {
		return fmt.Errorf("validate program %s: %w: parts begin at %v of %d ops, %d layers, hidden buffer %d", p.Name, ErrProgram, p.Parts, len(p.Ops), len(p.KV), p.Hidden)
	}
	for i := range p.Parts {
		for _, op := range p.part(i) {
			if a, ok := op.(Attend); ok && a.Layer != i {
				return fmt.Errorf("validate program %s: %w: attention of layer %d stands in part %d", p.Name, ErrProgram, a.Layer, i)
			}
		}
	}
	return nil
}

// checkFinal checks the ops that stand in place of the head.
func (p *Program) checkFinal() error {
	if len(p.Final) == 0 {
		return nil
	}
	err := errors.Join(p.width(p.States, p.bufWidth(p.Hidden)), p.rows(AllRows, p.States))
	if len(p.Parts) == 0 {
		err = errors.Join(err, errors.New("the program has no parts, and so no head that they could replace"))
	}
	for _, op := range p.Final {
		err = errors.Join(err, op.check(p))
	}
	if err != nil {
		return fmt.Errorf("validate program %s: %w: states: %w", p.Name, ErrProgram, err)
	}
	return nil
}

// width checks that a buffer exists and is n wide.
func (p *Program) width(b Buf, n int) error {
	if b < 0 || int(b) >= len(p.Buffers) {
		return fmt.Errorf("buffer %d does not exist", b)
	}
	if w := p.Buffers[b].Width; w != n {
		return fmt.Errorf("buffer %s is %d wide, not %d", p.Buffers[b].Name, w, n)
	}
	return nil
}

// shape checks that a weight exists and is [n, k].
func (p *Program) shape(w WeightID, n, k int) error {
	if w < 0 || int(w) >= len(p.Weights) {
		return fmt.Errorf("weight %d does not exist", w)
	}
	t := p.Weights[w]
	if t.N != n || t.K != k {
		return fmt.Errorf("weight %s is [%d,%d], not [%d,%d]", t.Name, t.N, t.K, n, k)
	}
	return nil
}

func (p *Program) bufWidth(b Buf) int {
	if b < 0 || int(b) >= len(p.Buffers) {
		return -1
	}
	return p.Buffers[b].Width
}

// rows checks that buffers have the given extent.
func (p *Program) rows(e Extent, bufs ...Buf) error {
	for _, b := range bufs {
		if b >= 0 && int(b) < len(p.Buffers) && p.Buffers[b].Rows != e {
			return fmt.Errorf("buffer %s has the rows of extent %d, not %d", p.buf(b), p.Buffers[b].Rows, e)
		}
	}
	return nil
}

// same checks that two buffers have the same shape.
func (p *Program) same(a, b Buf) error {
	if err := p.width(a, p.bufWidth(b)); err != nil {
		return err
	}
	if p.Buffers[a].Rows != p.Buffers[b].Rows {
		return fmt.Errorf("buffers %s and %s have different rows", p.buf(a), p.buf(b))
	}
	return nil
}

func (o Embed) check(p *Program) error {
	return errors.Join(p.shape(o.Table, p.Vocab, p.bufWidth(o.Dst)), p.rows(AllRows, o.Dst))
}

func (o RMSNorm) check(p *Program) error {
	return errors.Join(p.same(o.Dst, o.Src), p.shape(o.W, 1, p.bufWidth(o.Src)))
}

func (o AddRMSNorm) check(p *Program) error {
	return errors.Join(p.same(o.X, o.Y), p.shape(o.W, 1, p.bufWidth(o.Y)))
}

func (o Linear) check(p *Program) error {
	if len(o.Parts) == 0 {
		return errors.New("linear without parts")
	}
	written := map[Buf]bool{}
	for _, t := range o.Parts {
		n := p.bufWidth(t.Dst)
		if err := p.shape(t.W, n, p.bufWidth(o.Src)); err != nil {
			return err
		}
		if err := p.rows(p.Buffers[o.Src].Rows, t.Dst); err != nil {
			return err
		}
		if t.Dst == o.Src || written[t.Dst] {
			return fmt.Errorf("linear writes %s, its own input or another part's result", p.buf(t.Dst))
		}
		written[t.Dst] = true
		if t.Bias != NoWeight {
			if err := p.shape(t.Bias, 1, n); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o GatedLinear) check(p *Program) error {
	n, k := p.bufWidth(o.Dst), p.bufWidth(o.Src)
	if err := errors.Join(p.shape(o.Gate, n, k), p.shape(o.Up, n, k)); err != nil {
		return err
	}
	if o.Dst == o.Src {
		return fmt.Errorf("gated linear writes its own input %s", p.buf(o.Src))
	}
	return p.rows(p.Buffers[o.Src].Rows, o.Dst)
}

func (o HeadNorm) check(p *Program) error {
	return errors.Join(p.width(o.X, o.Heads*o.Dim), p.shape(o.W, 1, o.Dim))
}

func (o Rope) check(p *Program) error {
	if o.Table < 0 || o.Table >= len(p.Ropes) {
		return fmt.Errorf("rope table %d does not exist", o.Table)
	}
	if d := 2 * len(p.Ropes[o.Table].InvFreq); d == 0 || d > o.Dim {
		return fmt.Errorf("rope of %d channels on heads of %d", d, o.Dim)
	}
	return errors.Join(p.width(o.X, o.Heads*o.Dim), p.rows(AllRows, o.X))
}

func (o KVAppend) check(p *Program) error {
	if o.Layer < 0 || o.Layer >= len(p.KV) {
		return fmt.Errorf("cache layer %d does not exist", o.Layer)
	}
	n := p.KV[o.Layer].KVHeads * p.KV[o.Layer].HeadDim
	return errors.Join(p.width(o.K, n), p.width(o.V, n), p.rows(AllRows, o.K, o.V))
}

func (o Attend) check(p *Program) error {
	if o.Layer < 0 || o.Layer >= len(p.KV) {
		return fmt.Errorf("cache layer %d does not exist", o.Layer)
	}
	k := p.KV[o.Layer]
	if o.Heads <= 0 || o.Heads%k.KVHeads != 0 {
		return fmt.Errorf("%d query heads over %d KV heads", o.Heads, k.KVHeads)
	}
	return errors.Join(p.width(o.Q, o.Heads*k.HeadDim), p.width(o.Dst, o.Heads*k.HeadDim), p.rows(AllRows, o.Q, o.Dst))
}

func (o Select) check(p *Program) error {
	if err := p.width(o.Dst, p.bufWidth(o.Src)); err != nil {
		return err
	}
	if p.Buffers[o.Dst].Rows != OutRows || p.Buffers[o.Src].Rows != AllRows {
		return fmt.Errorf("select from %s to %s does not go from all rows to output rows", p.buf(o.Src), p.buf(o.Dst))
	}
	return nil
}
