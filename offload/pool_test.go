package offload

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"edged/pinnedmem"
)

func testPool(t interface{ Fatal(...any) }, tokens, context, seqs int) (*pinnedmem.Host, *Pool) {
	h := pinnedmem.NewHost(0)
	p, err := NewPool(h, Config{
		Layers: []LayerSpec{{KVHeads: 1, HeadDim: 2}, {KVHeads: 2, HeadDim: 4, Window: 8}},
		Elem:   F16, Context: context, Tokens: tokens, MaxSeqs: seqs,
	})
	if err != nil {
		t.Fatal(err)
	}
	return h, p
}

func TestBytesIsWhatAPoolTakes(t *testing.T) {
	for _, n := range []int{1, 32, 100, 5000} {
		h, p := testPool(t, 2*n, n, 5)
		if got, err := p.cfg.Bytes(); err != nil || got != h.Usage().Total() {
			t.Errorf("%d tokens: %d bytes, %v; the pool took %d", n, got, err, h.Usage().Total())
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := (Config{Layers: []LayerSpec{{}}}).Bytes(); err == nil {
		t.Error("a layer without heads has a size")
	}
}

func TestLayoutStrides(t *testing.T) {
	l, err := NewLayout(LayerSpec{KVHeads: 3, HeadDim: 64}, F16)
	if err != nil {
		t.Fatal(err)
	}
	got := []int{l.HeadBytes, l.PageBytes, l.KOffset(2), l.VOffset(2), l.TokenBytes()}
	if diff := cmp.Diff([]int{8192, 24576, 16384, 20480, 768}, got); diff != "" {
		t.Error(diff)
	}
	for _, s := range []LayerSpec{{KVHeads: 0, HeadDim: 4}, {KVHeads: 1}, {KVHeads: 1, HeadDim: 4, Window: -1}} {
		if _, err := NewLayout(s, F16); err == nil {
			t.Errorf("layer %+v is accepted", s)
		}
	}
}

func TestPolicyByName(t *testing.T) {
	if p, err := PolicyByName("full"); err != nil || p.Elem != F16 {
		t.Errorf("full is %+v, %v", p, err)
	}
	if _, err := PolicyByName("fulll"); err == nil {
		t.Error("an unknown policy is accepted")
	}
}

func TestPoolRefusesUnusableSizes(t *testing.T) {
	h := pinnedmem.NewHost(0)
	spec := []LayerSpec{{KVHeads: 1, HeadDim: 2}}
	for _, c := range []Config{
		{Layers: spec, Context: 0, Tokens: 1, MaxSeqs: 1},
		{Layers: spec, Context: 64, Tokens: 63, MaxSeqs: 1},
		{Layers: spec, Context: 64, Tokens: 64},
		{Context: 64, Tokens: 64, MaxSeqs: 1},
		{Layers: []LayerSpec{{}}, Context: 64, Tokens: 64, MaxSeqs: 1},
	} {
		if _, err := NewPool(h, c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
	small := pinnedmem.NewHost(1 << 16)
	if _, err := NewPool(small, Config{Layers: spec, Context: 1 << 20, Tokens: 1 << 20, MaxSeqs: 1}); !errors.Is(err, pinnedmem.ErrBudget) {
		t.Errorf("a pool past the budget: %v, want ErrBudget", err)
	}
	if err := errors.Join(h.Close(), small.Close()); err != nil {
		t.Error(err)
	}
}

// model is what the pool should hold: the tokens of every live sequence.
type model struct {
	seqs []*Seq
	toks [][]uint16
	next uint16
}

// write stands for a step: it marks a token's slot in every layer and head.
func write(s *Seq, pos int, v uint16) {
	for l := range s.Pool().Layers() {
		page := s.Pool().Page(l, s.Table(l)[pos/PageTok])
		lay := s.Pool().Layout(l)
		for h := range lay.Spec.KVHeads {
			binary.LittleEndian.PutUint16(page[lay.KOffset(h)+2*(pos%PageTok):], v)
			binary.LittleEndian.PutUint16(page[lay.VOffset(h)+2*(pos%PageTok)*lay.Spec.HeadDim:], v)
		}
	}
}

func read(s *Seq, pos int) error {
	var first uint16
	for l := range s.Pool().Layers() {
		page := s.Pool().Page(l, s.Table(l)[pos/PageTok])
		lay := s.Pool().Layout(l)
		for h := range lay.Spec.KVHeads {
			k := binary.LittleEndian.Uint16(page[lay.KOffset(h)+2*(pos%PageTok):])
			v := binary.LittleEndian.Uint16(page[lay.VOffset(h)+2*(pos%PageTok)*lay.Spec.HeadDim:])
			if l == 0 && h == 0 {
				first = k
			}
			if k != first || v != first {
				return fmt.Errorf("layer %d head %d holds %d and %d, layer 0 %d", l, h, k, v, first)
			}
		}
	}
	return nil
}

func value(s *Seq, pos int) uint16 {
	page := s.Pool().Page(0, s.Table(0)[pos/PageTok])
	return binary.LittleEndian.Uint16(page[s.Pool().Layout(0).KOffset(0)+2*(pos%PageTok):])
}

// TestSequencesKeepTheirTokens drives append, fork, truncate and free against
// plain slices of tokens: no sequence may ever see another's write, and pages
// and slots must all come back.
func TestSequencesKeepTheirTokens(t *testing.T) {
	const tokens, context, slots = 320, 160, 4
	rapid.Check(t, func(t *rapid.T) {
		h, p := testPool(t, tokens, context, slots)
		free := p.FreeTok()
		var m model
		t.Repeat(map[string]func(*rapid.T){
			"open": func(t *rapid.T) {
				s, err := p.NewSeq()
				if len(m.seqs) == slots {
					if !errors.Is(err, ErrNoSlots) {
						t.Fatalf("a fifth sequence: %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				m.seqs, m.toks = append(m.seqs, s), append(m.toks, nil)
			},
			"append": func(t *rapid.T) {
				i := m.pick(t)
				m.append(t, i, rapid.IntRange(0, 90).Draw(t, "n"), context)
			},
			"abandon": func(t *rapid.T) {
				// A cancelled step leaves written but uncommitted positions.
				i := m.pick(t)
				s := m.seqs[i]
				if s.Reserve(min(3, context-s.Len())) == nil {
					for pos := s.Len(); pos < min(s.Len()+3, context); pos++ {
						write(s, pos, 0xffff)
					}
				}
			},
			"truncate": func(t *rapid.T) {
				i := m.pick(t)
				n := rapid.IntRange(0, len(m.toks[i])).Draw(t, "n")
				if err := m.seqs[i].Truncate(n); err != nil {
					t.Fatal(err)
				}
				m.toks[i] = m.toks[i][:n:n]
			},
			"fork": func(t *rapid.T) {
				i := m.pick(t)
				n := rapid.IntRange(0, len(m.toks[i])).Draw(t, "n")
				f, err := m.seqs[i].Fork(n)
				if len(m.seqs) == slots {
					if !errors.Is(err, ErrNoSlots) {
						t.Fatalf("fork without a slot: %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				m.seqs, m.toks = append(m.seqs, f), append(m.toks, append([]uint16(nil), m.toks[i][:n]...))
			},
			"free": func(t *rapid.T) {
				i := m.pick(t)
				m.seqs[i].Free()
				m.seqs[i].Free()
				m.seqs = append(m.seqs[:i], m.seqs[i+1:]...)
				m.toks = append(m.toks[:i], m.toks[i+1:]...)
			},
			"": m.check,
		})
		for _, s := range m.seqs {
			s.Free()
		}
		if p.FreeTok() != free {
			t.Fatalf("%d tokens are free after all sequences ended, %d at first", p.FreeTok(), free)
		}
		if err := errors.Join(p.Close(), h.Close()); err != nil {
			t.Fatal(err)
		}
	})
}

func (m *model) pick(t *rapid.T) int {
	if len(m.seqs) == 0 {
		t.Skip("no sequence")
	}
	return rapid.IntRange(0, len(m.seqs)-1).Draw(t, "sequence")
}

func (m *model) append(t *rapid.T, i, n, context int) {
	s := m.seqs[i]
	before := s.Reserved()
	err := s.Reserve(n)
	if s.Len()+n > context {
		if !errors.Is(err, ErrContext) {
			t.Fatalf("reserving past the context: %v", err)
		}
		return
	}
	if errors.Is(err, ErrNoPages) {
		if s.Reserved() != before {
			t.Fatalf("a failed Reserve changed the sequence")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		m.next++
		write(s, s.Len(), m.next)
		m.toks[i] = append(m.toks[i], m.next)
		if err := s.Commit(1); err != nil {
			t.Fatal(err)
		}
	}
}

func (m *model) check(t *rapid.T) {
	for i, s := range m.seqs {
		if s.Len() != len(m.toks[i]) {
			t.Fatalf("sequence %d has %d tokens, want %d", i, s.Len(), len(m.toks[i]))
		}
		for pos, want := range m.toks[i] {
			if got := value(s, pos); got != want {
				t.Fatalf("sequence %d position %d holds %d, want %d", i, pos, got, want)
			}
			if err := read(s, pos); err != nil {
				t.Fatalf("sequence %d position %d: %v", i, pos, err)
			}
		}
	}
}

func TestBoundsOfSequenceCalls(t *testing.T) {
	_, p := testPool(t, 64, 64, 1)
	defer p.Close()
	s, err := p.NewSeq()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Reserve(5); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(PageTok + 1); err == nil {
		t.Error("more tokens than reserved can be committed")
	}
	if err := s.Commit(-1); err == nil {
		t.Error("a negative number of tokens can be committed")
	}
	if err := s.Truncate(1); err == nil {
		t.Error("a sequence can be truncated to more than it holds")
	}
	if _, err := s.Fork(1); err == nil {
		t.Error("a sequence can be forked past its end")
	}
}
