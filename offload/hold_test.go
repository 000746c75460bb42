package offload

import (
	"errors"
	"testing"
)

// TestHeldSequenceStays frees a sequence that is held and writes all other memory
// full: what is held must not change, nor may anybody change it, and it must be free
// once it is released. A fork goes on meanwhile.
func TestHeldSequenceStays(t *testing.T) {
	for name, plans := range plansByName() {
		t.Run(name, func(t *testing.T) {
			k := newKernel(t, plans)
			before := heldCounts(k.pool)
			s := k.empty(t)
			k.read(t, s, 570, 1)
			var want saved
			want.grow(t, s)
			h, err := s.Hold()
			if err != nil {
				t.Fatal(err)
			}
			if err := s.reserve(1); !errors.Is(err, ErrHeld) {
				t.Errorf("a held sequence grows: %v", err)
			}
			if n := s.Keepable(500); n < s.Len() {
				if err := s.Truncate(n); !errors.Is(err, ErrHeld) {
					t.Errorf("a held sequence is cut: %v", err)
				}
			}
			if err := s.Truncate(s.Len()); err != nil {
				t.Errorf("nothing would have changed: %v", err)
			}
			f, err := s.Fork(s.Len())
			if err != nil {
				t.Fatal(err)
			}
			s.Free()
			k.read(t, f, 30, 5000)
			f.Free()
			other := k.empty(t)
			k.read(t, other, testTokens-600, 7000)
			if h.Blocks() != len(want.blocks) {
				t.Fatalf("%d blocks are held of %d", h.Blocks(), len(want.blocks))
			}
			for i := range want.blocks {
				sameParts(t, want.blocks[i], ownParts(h.Block(i)))
			}
			sameParts(t, want.tail, ownParts(h.Tail()))
			other.Free()
			h.Release()
			h.Release()
			sameCounts(t, k.pool, before)
		})
	}
}

// TestHeldBlocksOutliveTheirSequence is that for blocks of a sequence that goes on.
func TestHeldBlocksOutliveTheirSequence(t *testing.T) {
	for name, plans := range plansByName() {
		t.Run(name, func(t *testing.T) {
			k := newKernel(t, plans)
			before := heldCounts(k.pool)
			s := k.empty(t)
			k.read(t, s, 570, 1)
			var want saved
			want.grow(t, s)
			first := min(1, s.Blocks())
			h := s.HoldBlocks(first)
			if h.Next() != s.Blocks() {
				t.Fatalf("blocks are held up to %d of %d", h.Next(), s.Blocks())
			}
			if rest := testContext - s.Len(); rest > 0 {
				k.read(t, s, rest, 5000)
			}
			s.Free()
			other := k.empty(t)
			k.read(t, other, testTokens-600, 7000)
			for i := first; i < h.Next(); i++ {
				sameParts(t, want.blocks[i], ownParts(h.Block(i)))
			}
			other.Free()
			h.Release()
			h.Release()
			sameCounts(t, k.pool, before)
		})
	}
}

func sameCounts(t *testing.T, p *Pool, before [][2]int) {
	t.Helper()
	for i, c := range heldCounts(p) {
		if c != before[i] {
			t.Errorf("layer %d: references and free units are %v after all has ended, %v before", i, c, before[i])
		}
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
