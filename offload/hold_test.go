package offload

import (
	"errors"
	"testing"
)

// TestHeldBlocksOutliveTheirSequence frees a sequence and writes its memory
// full of others: what is held must not change, and be free once it is released.
func TestHeldBlocksOutliveTheirSequence(t *testing.T) {
	for name, plans := range plansByName() {
		t.Run(name, func(t *testing.T) {
			k := newKernel(t, plans)
			before := heldCounts(k.pool)
			s := k.empty(t)
			k.read(t, s, 570, 1)
			h := s.Hold()
			tail := ownParts(s.SnapshotTail())
			if h.Blocks() != s.Blocks() {
				t.Fatalf("%d blocks are held of %d", h.Blocks(), s.Blocks())
			}
			var want [][]Part
			for i := range h.Blocks() {
				parts, err := s.SnapshotBlock(i)
				if err != nil {
					t.Fatal(err)
				}
				want = append(want, ownParts(parts))
			}
			if rest := testContext - s.Len(); rest > 0 {
				k.read(t, s, rest, 5000) // the sequence goes on, into copies
			}
			s.Free()
			other := k.empty(t)
			k.read(t, other, testTokens-600, 7000)
			for i := range want {
				sameParts(t, want[i], ownParts(h.Block(i)))
			}
			sameParts(t, tail, ownParts(h.Tail()))
			other.Free()
			h.Release()
			h.Release()
			for i, c := range heldCounts(k.pool) {
				if c != before[i] {
					t.Errorf("layer %d: references and free units are %v after all has ended, %v before", i, c, before[i])
				}
			}
		})
	}
}

// TestBlocksAloneAreAPrefix restores whole blocks without a tail, and lets the
// sequence and one that was cut to them go on: they must come to the same bytes.
func TestBlocksAloneAreAPrefix(t *testing.T) {
	for name, plans := range map[string][]LayerPlan{"exact": plansByName()["exact"], "records": mixed()[1:4]} {
		t.Run(name, func(t *testing.T) {
			a, b := newKernel(t, plans), newKernel(t, plans)
			s := a.empty(t)
			a.read(t, s, 540, 1)
			for n := 1; n <= s.Blocks(); n++ {
				q, err := restoreBlocks(b.pool, s, n)
				if err != nil {
					t.Fatal(err)
				}
				if q.Len() != n*BlockTok {
					t.Fatalf("%d blocks are restored as %d tokens", n, q.Len())
				}
				cut, err := s.Fork(n * BlockTok)
				if err != nil {
					t.Fatal(err)
				}
				a.read(t, cut, 80, 9000)
				b.read(t, q, 80, 9000)
				var v saved
				v.grow(t, cut)
				v.mustBe(t, q)
				q.Free()
				cut.Free()
			}
			if _, err := b.pool.BeginRestoreBlocks(testContext/BlockTok + 1); !errors.Is(err, ErrContext) {
				t.Errorf("more blocks than the context has: %v", err)
			}
		})
	}
	for _, name := range []string{"windows", "tailored"} {
		k := newKernel(t, plansByName()[name])
		if _, err := k.pool.BeginRestoreBlocks(1); !errors.Is(err, ErrSnapshot) || !k.pool.NeedsTail() {
			t.Errorf("%s: blocks without the tail that they need: %v", name, err)
		}
	}
}

func restoreBlocks(p *Pool, from *Seq, n int) (*Seq, error) {
	r, err := p.BeginRestoreBlocks(n)
	if err != nil {
		return nil, err
	}
	for i := range n {
		parts, err := from.SnapshotBlock(i)
		if err != nil {
			return nil, err
		}
		for _, part := range ownParts(parts) {
			if err := r.PutBlock(i, part.ID, 0, part.Data[0]); err != nil {
				return nil, err
			}
		}
	}
	return r.Finish()
}
