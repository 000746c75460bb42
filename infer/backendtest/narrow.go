package backendtest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/infer/sample"
)

// testNarrow asks for less than whole rows of logits: a backend may give them whole,
// but what it narrows is, to the bit, what its own whole row gives.
func (s *suite) testNarrow(t *testing.T) {
	for _, vocab := range []int{33, 300, 5000, 140_000} {
		t.Run(fmt.Sprint(vocab), func(t *testing.T) {
			b := newBuilder(s.rng(t), vocab)
			x, y := b.input(32), b.buffer(vocab, graph.OutRows)
			last := b.buffer(32, graph.OutRows)
			b.emit(graph.Select{Dst: last, Src: x})
			b.emit(graph.Linear{Src: last, Parts: []graph.Part{{Dst: y, W: b.weight(gguf.F32, vocab, 32), Bias: graph.NoWeight}}})
			p := b.program(t, y)
			l := limits(p, s.opt.Elems[0])
			l.MaxOut, l.MaxAsk = 8, 8
			c := &narrowCheck{suite: s, b: b, vocab: vocab, got: newRig(t, s.backend, p, l), want: newRig(t, s.judge, p, l)}
			for range 12 {
				c.step(t)
			}
		})
	}
}

type narrowCheck struct {
	*suite
	b         *builder
	vocab     int
	got, want *rig
}

// step narrows some of the rows of one step. The first rows of an input are zeros,
// whose logits are all equal, small and large numbers.
func (c *narrowCheck) step(t *testing.T) {
	rng := c.b.rng
	tok := c.b.tokens(1 + rng.IntN(8))
	rng.Shuffle(len(tok), func(i, j int) { tok[i], tok[j] = tok[j], tok[i] })
	asks := make([]*sample.Ask, len(tok))
	for i := range asks {
		if rng.IntN(4) > 0 {
			asks[i] = c.ask(rng)
		}
	}
	q, w := c.got.seq(0), c.want.seq(0)
	defer q.Free()
	defer w.Free()
	want := c.want.step(piece{seq: w, tok: tok})
	in, kv := c.got.assemble([]piece{{seq: q, tok: tok}})
	in.Ask = asks
	l, err := c.got.exec.Step(t.Context(), in, kv)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range asks {
		n := l.Narrowed(i)
		if n != nil && a == nil || n == nil && a != nil && c.opt.Narrows {
			t.Fatalf("row %d of %d: narrowed is %t, asked for is %t", i, len(asks), n != nil, a != nil)
		}
		if n != nil {
			kept := *n
			kept.Keys = append([]uint64{}, n.Keys...)
			n = &kept
		}
		row, err := l.Whole(i)
		if err != nil {
			t.Fatal(err)
		}
		check(t, fmt.Sprintf("row %d of %d", i, len(asks)), c.opt.Tolerance.linear(gguf.F32), rows{row}, want[i:i+1])
		if n == nil {
			continue
		}
		var exact sample.Narrow
		exact.Fill(a, row)
		if diff := cmp.Diff(&exact, n, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("row %d of %d, token %d, scale %g, quantile %g, total %t, mask %t, %d edits (-whole row +narrowed):\n%s",
				i, len(asks), tok[i], a.Scale, a.Quantile, a.Total, a.Mask != nil, a.Edits.Len(), diff)
		}
	}
}

// ask asks for anything.
func (c *narrowCheck) ask(rng *rand.Rand) *sample.Ask {
	a := &sample.Ask{Total: rng.IntN(2) == 0}
	if rng.IntN(2) == 0 {
		a.Scale, a.Quantile = []float64{0.01, 1, 1.4, 50}[rng.IntN(4)], rng.Float64()
		if rng.IntN(6) == 0 {
			a.Quantile = []float64{0, 1 - 0x1p-53}[rng.IntN(2)]
		}
	}
	if rng.IntN(3) == 0 {
		a.Mask = make([]uint64, (c.vocab+63)/64)
		few := rng.IntN(2) == 0
		for id := range c.vocab {
			if !few || rng.IntN(c.vocab) < 5 {
				a.Mask[id/64] |= uint64(rng.IntN(2)) << (id % 64)
			}
		}
	}
	if rng.IntN(3) == 0 {
		a.Edits.Repeat = c.edits(rng, 1.3)
		a.Edits.Subtract = c.edits(rng, 0.7)
		a.Edits.Add = c.edits(rng, -2)
	}
	return a
}

func (c *narrowCheck) edits(rng *rand.Rand, v float32) []sample.Edit {
	var out []sample.Edit
	for _, id := range rng.Perm(c.vocab)[:rng.IntN(min(c.vocab, sample.MaxEdits/3)+1)] {
		out = append(out, sample.Edit{ID: int32(id), Value: v * (0.5 + rng.Float32())})
	}
	return out
}
