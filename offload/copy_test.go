package offload

import (
	"errors"
	"testing"

	"edged/pinnedmem"
)

// newKernel makes a pool whose memory goes when the test ends.
func newKernel(t *testing.T, plans []LayerPlan) kernel {
	h := pinnedmem.NewHost(0)
	p, err := NewPool(Tiers{Fast: h, Host: h, Mover: &copier{t: t}}, Config{Layers: plans, Context: testContext, Tokens: testTokens, MaxSeqs: testSeqs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return kernel{p}
}

// copier is a Mover over plain memory.
type copier struct{ t *testing.T }

func (c *copier) Move(pairs []Pair) error {
	for _, x := range pairs {
		if len(x.Dst) != len(x.Src) {
			c.t.Errorf("%d bytes are moved to %d", len(x.Src), len(x.Dst))
		}
		copy(x.Dst, x.Src)
	}
	return nil
}

// decode appends a token; attempts before the last are given up.
func (k kernel) decode(t *testing.T, s *Seq, tok uint16, attempts int) {
	for left := attempts - 1; left >= 0; left-- {
		if err := s.Reserve(1); err != nil {
			t.Fatal(err)
		}
		k.step(s, tok+uint16(left)<<15)
	}
	if err := s.Commit(1); err != nil {
		t.Fatal(err)
	}
}

func (k kernel) mustHold(t *testing.T, s *Seq, first uint16) {
	t.Helper()
	for l := range k.pool.Layers() {
		from := 0
		if w := k.pool.Plan(l).Window; w > 0 {
			from = max(0, s.Len()-w+1)
		}
		for pos := from; pos < s.Len(); pos++ {
			if err := k.check(s, l, pos, first+uint16(pos)); err != nil {
				t.Fatalf("position %d of %d: %v", pos, s.Len(), err)
			}
		}
	}
}

// TestStepsThatAreGivenUpCostNothing writes every position with something else
// first. A tail that is full must still hold the tokens that are about to
// become records.
func TestStepsThatAreGivenUpCostNothing(t *testing.T) {
	for name, plans := range map[string][]LayerPlan{"mixed": mixed(), "tailored": tailored()} {
		t.Run(name, func(t *testing.T) {
			k := newKernel(t, plans)
			s := k.open(t, 0, 0)
			for pos := range 300 {
				k.decode(t, s, uint16(pos), 2)
				k.mustHold(t, s, 0)
			}
		})
	}
}

// TestSharedBlocksAreCopiedWithTheirIndex lets two sequences that share a block
// of records go on.
func TestSharedBlocksAreCopiedWithTheirIndex(t *testing.T) {
	const paged = 3
	k := newKernel(t, mixed())
	a := k.open(t, 150, 0)
	k.renew(t, a, paged, []int{0, 3})
	b, err := a.Fork(150)
	if err != nil {
		t.Fatal(err)
	}
	if got := k.held(b, paged, 1); len(got) != 2 {
		t.Errorf("a fork holds pages %v of its parent's", got)
	}
	for pos := 150; pos < 250; pos++ {
		k.decode(t, a, uint16(pos), 1)
		k.decode(t, b, uint16(pos), 1)
	}
	if a.Table(paged)[0] == b.Table(paged)[0] {
		t.Error("both sequences still write to one block")
	}
	toks := make([]uint16, 250)
	for pos := range toks {
		toks[pos] = uint16(pos)
	}
	for _, s := range []*Seq{a, b} {
		k.mustHold(t, s, 0)
		for page := range 6 {
			if got, want := string(k.indexMark(s, paged, page*PageTok, 0)), string(k.record(s, paged, page*PageTok, 0)[:2]); got != want {
				t.Errorf("page %d: index and record differ", page)
			}
		}
		k.renew(t, s, paged, []int{0, 2, 9})
		if err := k.checkSet(s, paged, toks); err != nil {
			t.Error(err)
		}
	}
}

// TestCutsShowWhatWasWritten forks at every length that can be kept, after
// decoding, a step that was given up, and a prompt.
func TestCutsShowWhatWasWritten(t *testing.T) {
	for n := 100; n < 240; n += 7 {
		k := newKernel(t, mixed())
		s := k.open(t, n, 0)
		if err := s.Reserve(1); err != nil {
			t.Fatal(err)
		}
		k.step(s, 1<<15)
		k.cuts(t, s)
		if err := s.BeginPrefill(n % 50); err != nil {
			t.Fatal(err)
		}
		var toks []uint16
		for i := range n % 50 {
			toks = append(toks, uint16(n+i))
		}
		for l := range k.pool.Layers() {
			k.prompt(s, l, toks)
		}
		if err := s.EndPrefill(); err != nil {
			t.Fatal(err)
		}
		k.cuts(t, s)
	}
}

func (k kernel) cuts(t *testing.T, s *Seq) {
	t.Helper()
	kept := 0
	for n := range s.Len() + 1 {
		if s.Keepable(n) != n {
			continue
		}
		kept++
		f, err := s.Fork(n)
		if err != nil {
			t.Fatal(err)
		}
		k.mustHold(t, f, 0)
		f.Free()
	}
	if kept < 2 {
		t.Errorf("a sequence of %d tokens can be cut nowhere", s.Len())
	}
}

// TestACopyNeedsAUnit fills a pool and then writes to a shared unit.
func TestACopyNeedsAUnit(t *testing.T) {
	h := pinnedmem.NewHost(0)
	p, err := NewPool(Tiers{Fast: h, Host: h, Mover: &copier{t: t}}, Config{Layers: ExactLayers([]LayerSpec{{KVHeads: 1, HeadDim: 2}}, F16), Context: 256, Tokens: 256, MaxSeqs: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	k := kernel{p}
	a := k.open(t, 250, 0)
	k.open(t, 96, 0)
	c, err := a.Fork(250)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Reserve(1); !errors.Is(err, ErrNoPages) {
		t.Errorf("a shared page is written to without a free one: %v", err)
	}
}

// open decodes n tokens into a new sequence.
func (k kernel) open(t *testing.T, n int, first uint16) *Seq {
	s, err := k.pool.NewSeq()
	if err != nil {
		t.Fatal(err)
	}
	for pos := range n {
		k.decode(t, s, first+uint16(pos), 1)
	}
	return s
}
