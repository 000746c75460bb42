package offload

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"edged/pinnedmem"
)

// saved is a snapshot in memory of its own.
type saved struct {
	blocks [][]kept
	tail   []kept
}

// kept is a part's copy.
type kept struct {
	ID   int
	Data [1][]byte
}

func ownParts(parts []Part) []kept {
	var own []kept
	for _, p := range parts {
		k := kept{ID: p.ID}
		for b, err := range p.All() {
			if err != nil {
				panic(err) // a test's mover does not fail
			}
			k.Data[0] = append(k.Data[0], b...)
		}
		own = append(own, k)
	}
	return own
}

func cloned(parts []kept) []kept {
	own := slices.Clone(parts)
	for i := range own {
		own[i].Data[0] = bytes.Clone(own[i].Data[0])
	}
	return own
}

func tailParts(t fatalist, s *Seq) []kept {
	t.Helper()
	parts, err := s.SnapshotTail()
	if err != nil {
		t.Fatal(err)
	}
	return ownParts(parts)
}

// grow adds the blocks that are new, as a session's turn does, and takes the
// tail anew.
func (v *saved) grow(t fatalist, s *Seq) {
	t.Helper()
	v.blocks = v.blocks[:min(len(v.blocks), s.Blocks())]
	for i := len(v.blocks); i < s.Blocks(); i++ {
		parts, err := s.SnapshotBlock(i)
		if err != nil {
			t.Fatal(err)
		}
		v.blocks = append(v.blocks, ownParts(parts))
	}
	v.tail = tailParts(t, s)
}

// restore puts a snapshot into a pool, in pieces of n bytes; the tail first
// when so asked.
func (v saved) restore(p *Pool, n int, tailFirst bool) (*Seq, error) {
	r, err := p.BeginRestore(v.tail[0].Data[0])
	if err != nil {
		return nil, err
	}
	defer r.Cancel()
	tail := func() error {
		return v.pieces(v.tail[1:], n, r.PutTail)
	}
	if tailFirst {
		err = tail()
	}
	for i, parts := range v.blocks {
		err = errors.Join(err, v.pieces(parts, n, func(part int, off int64, data []byte) error { return r.PutBlock(i, part, off, data) }))
	}
	if !tailFirst {
		err = errors.Join(err, tail())
	}
	if err != nil {
		return nil, err
	}
	return r.Finish()
}

func (v saved) pieces(parts []kept, n int, put func(part int, off int64, data []byte) error) error {
	for _, p := range parts {
		off := int64(0)
		for data := range slices.Chunk(p.Data[0], n) {
			if err := put(p.ID, off, data); err != nil {
				return err
			}
			off += int64(len(data))
		}
	}
	return nil
}

// heldCounts are how many references and free units every layer has.
func heldCounts(p *Pool) [][2]int {
	var counts [][2]int
	for i := range p.layers {
		sum := 0
		for _, n := range p.layers[i].refs {
			sum += int(n)
		}
		counts = append(counts, [2]int{sum, len(p.layers[i].free)})
	}
	return counts
}

// resume replaces a sequence by one that was restored beside it.
func (m *machine) resume(t *rapid.T) {
	i := m.pick(t)
	s := m.seqs[i]
	var v saved
	v.grow(t, s)
	before := heldCounts(m.pool)
	again, err := v.restore(m.pool, rapid.IntRange(1, 5000).Draw(t, "piece"), rapid.Bool().Draw(t, "tail first"))
	if errors.Is(err, ErrNoPages) || errors.Is(err, ErrNoSlots) {
		if diff := cmp.Diff(before, heldCounts(m.pool)); diff != "" {
			t.Fatalf("a restore without room for it left something behind: %s", diff)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if again.Len() != s.Len() || again.Stored() != s.Stored() || again.low != s.low {
		t.Fatalf("%d tokens, %d in records, windows from %d were restored as %d, %d, %d", s.Len(), s.Stored(), s.low, again.Len(), again.Stored(), again.low)
	}
	if again.Set() >= 0 || s.Set() < 0 {
		v.mustBe(t, again)
	}
	s.Free()
	m.seqs[i] = again
}

// mustBe says whether a sequence's snapshot is this one.
func (v saved) mustBe(t fatalist, s *Seq) {
	t.Helper()
	var w saved
	w.grow(t, s)
	if len(v.blocks) != len(w.blocks) {
		t.Fatal(len(w.blocks), " blocks are restored of ", len(v.blocks))
	}
	for i := range v.blocks {
		sameParts(t, v.blocks[i], w.blocks[i])
	}
	sameParts(t, v.tail, w.tail)
}

func sameParts(t fatalist, a, b []kept) {
	t.Helper()
	if len(a) != len(b) {
		t.Fatal(len(b), " parts, want ", len(a))
	}
	for i := range a {
		if a[i].ID != b[i].ID || !bytes.Equal(a[i].Data[0], b[i].Data[0]) {
			t.Fatal("part ", a[i].ID, " differs from part ", b[i].ID, " after a restore")
		}
	}
}

// plansByName are pools that together have every class.
func plansByName() map[string][]LayerPlan {
	return map[string][]LayerPlan{
		"exact":    ExactLayers([]LayerSpec{{KVHeads: 1, HeadDim: 2}, {KVHeads: 2, HeadDim: 4, Window: 8}}, F16),
		"windows":  {mixed()[0]},
		"mixed":    mixed(),
		"tailored": tailored(),
	}
}

// TestRestoredSequencesGoOnAlike saves a sequence turn by turn, restores it into
// a pool of other free units, working sets and context, and lets both go on: they
// must come to the same bytes.
func TestRestoredSequencesGoOnAlike(t *testing.T) {
	for name, plans := range plansByName() {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { goOnAlike(t, plans) })
		})
	}
}

func goOnAlike(t *rapid.T, plans []LayerPlan) {
	h := pinnedmem.NewHost(0)
	a, b := rapidKernel(t, h, plans, testContext), rapidKernel(t, h, plans, testContext+100)
	defer a.pool.Close()
	defer b.pool.Close()
	dirty, stale := b.empty(t), b.empty(t)
	b.read(t, dirty, 100, 1)    // takes units
	b.read(t, stale, 290, 7000) // leaves other bytes in free ones
	stale.Free()

	s, v, toks := a.empty(t), saved{}, uint16(1)
	turn := func(both ...*Seq) {
		n := rapid.IntRange(1, 250).Draw(t, "tokens")
		if s.Len()+n > testContext {
			return
		}
		steps := rapid.IntRange(0, n).Draw(t, "of them steps")
		pages := rapid.SliceOfNDistinct(rapid.IntRange(0, 7), 1, 2, rapid.ID).Draw(t, "pages")
		for _, q := range both {
			k := kernel{q.Pool()}
			k.read(t, q, n-steps, toks)
			for i := range steps {
				k.choose(t, q, toks+uint16(n-steps+i), pages)
			}
		}
		toks += uint16(n)
	}
	cut := func(both ...*Seq) {
		n := s.Keepable(rapid.IntRange(s.Len()/2, s.Len()).Draw(t, "cut"))
		for _, q := range both {
			if err := q.Truncate(n); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range rapid.IntRange(1, 4).Draw(t, "turns") {
		turn(s)
		if rapid.IntRange(0, 3).Draw(t, "cut?") == 0 {
			cut(s)
		}
		v.grow(t, s)
	}
	q, err := v.restore(b.pool, 1000, false)
	if err != nil {
		t.Fatal(err)
	}
	v.mustBe(t, q)
	turn(s, q)
	cut(s, q)
	turn(s, q)
	var w saved
	w.grow(t, s)
	w.mustBe(t, q)
	q.Free()
	dirty.Free()
	for i, c := range heldCounts(b.pool) {
		if c != [2]int{0, b.pool.layers[i].nUnit} {
			t.Fatalf("layer %d: %d references, %d of %d units free after all sequences ended", i, c[0], c[1], b.pool.layers[i].nUnit)
		}
	}
}

func rapidKernel(t fatalist, h *pinnedmem.Host, plans []LayerPlan, context int) kernel {
	p, err := NewPool(One(h), Config{Layers: plans, Context: context, Tokens: testTokens, MaxSeqs: testSeqs})
	if err != nil {
		t.Fatal(err)
	}
	return kernel{p}
}

func (k kernel) empty(t fatalist) *Seq {
	t.Helper()
	s, err := k.pool.NewSeq()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// read appends a prompt.
func (k kernel) read(t fatalist, s *Seq, n int, first uint16) {
	t.Helper()
	if n == 0 {
		return
	}
	toks := make([]uint16, n)
	for i := range toks {
		toks[i] = first + uint16(i)
	}
	begin, end := s.Reserve, func() error { return s.Commit(n) }
	if k.pool.LayerMajor() {
		begin, end = s.BeginPrefill, s.EndPrefill
	}
	if err := begin(n); err != nil {
		t.Fatal(err)
	}
	for l := range k.pool.Layers() {
		k.prompt(s, l, toks)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
}

// choose appends a token in a step that brings those of the pages that there are.
func (k kernel) choose(t fatalist, s *Seq, tok uint16, pages []int) {
	t.Helper()
	if err := s.Reserve(1); err != nil {
		t.Fatal(err)
	}
	pages = slices.DeleteFunc(slices.Clone(pages), func(p int) bool { return p >= s.Stored()/ColdTok })
	for l := range k.pool.Layers() {
		if k.pool.Plan(l).Class == Paged && len(pages) > 0 {
			k.renew(t, s, l, pages)
		}
	}
	k.step(s, tok)
	if err := s.Commit(1); err != nil {
		t.Fatal(err)
	}
}
