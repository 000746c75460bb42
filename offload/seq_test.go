package offload

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"edged/pinnedmem"
)

const (
	testContext = 600
	testTokens  = 1100
	testSeqs    = 4
)

// machine is a pool beside what it should hold: the tokens of every sequence.
type machine struct {
	kernel
	seqs []*Seq
	toks [][]uint16
	next uint16

	reader *Seq     // reads a prompt
	prompt []uint16 // its tokens
	layer  int      // that is read next
}

// TestSequencesKeepTheirTokens drives everything that changes a sequence
// against plain slices of tokens: no sequence may ever see another's write, a
// step or prompt that is given up changes nothing, and units, slots and bytes
// all come back.
func TestSequencesKeepTheirTokens(t *testing.T) {
	for name, plans := range plansByName() {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { runMachine(t, plans) })
		})
	}
}

func runMachine(t *rapid.T, plans []LayerPlan) {
	fast, host := pinnedmem.NewHost(0), pinnedmem.NewHost(0)
	p, err := NewPool(Tiers{Fast: fast, Host: host}, Config{Layers: plans, Context: testContext, Tokens: testTokens, MaxSeqs: testSeqs, Decoding: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close() // where the test has failed
	free := p.FreeTok()
	m := &machine{kernel: kernel{p}}
	actions := map[string]func(*rapid.T){
		"open": m.open, "step": m.step, "give up step": m.giveUpStep, "truncate": m.truncate, "fork": m.fork, "resume": m.resume, "free": m.free, "": m.check,
	}
	if p.LayerMajor() {
		actions["begin prompt"], actions["read layers"], actions["give up prompt"] = m.begin, m.readLayers, m.giveUpPrompt
		actions["fetch"] = m.fetch
	} else {
		actions["append"] = m.append
	}
	if p.LayerMajor() { // most of what can happen happens to records
		m.begin(t)
		for m.reader != nil {
			m.readLayers(t)
		}
	}
	t.Repeat(actions)
	for _, s := range m.seqs {
		s.Free()
	}
	if p.FreeTok() != free {
		t.Fatalf("%d tokens are free after all sequences ended, %d at first", p.FreeTok(), free)
	}
	for i := range p.layers {
		if l := &p.layers[i]; len(l.free) != l.nUnit || slices.ContainsFunc(l.refs, func(n int32) bool { return n != 0 }) {
			t.Fatalf("layer %d: %d of %d units are free, references %v", i, len(l.free), l.nUnit, l.refs)
		}
	}
	if err := errors.Join(p.Close(), fast.Close(), host.Close()); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) open(t *rapid.T) {
	s, err := m.pool.NewSeq()
	if len(m.seqs) == testSeqs {
		if !errors.Is(err, ErrNoSlots) {
			t.Fatalf("a fifth sequence: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for l := range m.pool.Layers() {
		if peak := m.peaks(s, l); peak != 0 {
			t.Fatalf("a new sequence has a peak of %d in layer %d", peak, l)
		}
	}
	m.seqs, m.toks = append(m.seqs, s), append(m.toks, nil)
}

// pick chooses a sequence that reads no prompt, and opens one if need be.
func (m *machine) pick(t *rapid.T) int {
	var free []int
	for i, s := range m.seqs {
		if s != m.reader {
			free = append(free, i)
		}
	}
	if len(free) == 0 {
		m.open(t)
		return len(m.seqs) - 1
	}
	return rapid.SampledFrom(free).Draw(t, "sequence")
}

func (m *machine) token() uint16 {
	m.next++
	return m.next
}

// refused checks a call that may fail for want of memory or context, and must
// then change nothing.
func refused(t *rapid.T, s *Seq, n int, err error, before int) bool {
	switch {
	case s.Len()+n > testContext:
		if !errors.Is(err, ErrContext) {
			t.Fatalf("past the context: %v", err)
		}
	case err == nil:
		return false
	case !errors.Is(err, ErrNoPages):
		t.Fatal(err)
	}
	if s.Reserved() != before {
		t.Fatalf("a refused call changed the sequence")
	}
	return true
}

// step decodes some tokens, one by one, perhaps each at the second attempt.
func (m *machine) step(t *rapid.T) {
	i, twice := m.pick(t), rapid.Bool().Draw(t, "twice")
	s := m.seqs[i]
	for range rapid.IntRange(1, 40).Draw(t, "n") {
		before := s.Reserved()
		if refused(t, s, 1, s.Reserve(1), before) {
			return
		}
		if twice {
			m.kernel.step(s, m.token())
		}
		tok := m.token()
		m.kernel.step(s, tok)
		if err := s.Commit(1); err != nil {
			t.Fatal(err)
		}
		m.toks[i] = append(m.toks[i], tok)
	}
}

// append reads a prompt as one step, where tails are not bounded.
func (m *machine) append(t *rapid.T) {
	i, n := m.pick(t), rapid.IntRange(0, 90).Draw(t, "n")
	s := m.seqs[i]
	before := s.Reserved()
	if refused(t, s, n, s.Reserve(n), before) {
		return
	}
	var toks []uint16
	for range n {
		toks = append(toks, m.token())
	}
	for l := range m.pool.Layers() {
		m.kernel.prompt(s, l, toks)
	}
	if err := s.Commit(n); err != nil {
		t.Fatal(err)
	}
	m.toks[i] = append(m.toks[i], toks...)
}

// giveUpStep leaves written positions that are never committed.
func (m *machine) giveUpStep(t *rapid.T) {
	s := m.seqs[m.pick(t)]
	before := s.Reserved()
	if !refused(t, s, 1, s.Reserve(1), before) {
		m.kernel.step(s, m.token())
	}
}

func (m *machine) truncate(t *rapid.T) {
	i := m.pick(t)
	s, want := m.seqs[i], rapid.IntRange(0, len(m.toks[m.index(m.seqs[i])])).Draw(t, "n")
	n := s.Keepable(want)
	m.keepable(t, s, want, n)
	if err := s.Truncate(n); err != nil {
		t.Fatal(err)
	}
	m.toks[i] = m.toks[i][:n:n]
}

func (m *machine) index(s *Seq) int { return slices.Index(m.seqs, s) }

// keepable bounds what a cut may lose: a group of records, or everything when
// a window would have a hole.
func (m *machine) keepable(t *rapid.T, s *Seq, want, n int) {
	group, hole := max(m.pool.group, 1), false
	for i := range m.pool.Layers() {
		p := m.pool.Plan(i)
		hole = hole || p.Class == Window && s.low > max(want-want%group-p.Window+1, 0)
	}
	if n > want || want-n >= group && !hole {
		t.Fatalf("%d of %d tokens can be kept of a cut at %d", n, s.Len(), want)
	}
	if n != want && s.Truncate(want) == nil {
		t.Fatalf("a cut at %d is done though only %d can be kept", want, n)
	}
}

func (m *machine) fork(t *rapid.T) {
	i := m.pick(t)
	n := m.seqs[i].Keepable(rapid.IntRange(0, len(m.toks[i])).Draw(t, "n"))
	f, err := m.seqs[i].Fork(n)
	if len(m.seqs) == testSeqs {
		if !errors.Is(err, ErrNoSlots) {
			t.Fatalf("fork without a slot: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	m.seqs, m.toks = append(m.seqs, f), append(m.toks, slices.Clone(m.toks[i][:n]))
}

func (m *machine) free(t *rapid.T) {
	if len(m.seqs) == 0 {
		t.Skip("no sequence")
	}
	i := rapid.IntRange(0, len(m.seqs)-1).Draw(t, "sequence")
	if m.seqs[i] == m.reader {
		m.reader = nil
	}
	m.seqs[i].Free()
	m.seqs[i].Free()
	m.seqs, m.toks = slices.Delete(m.seqs, i, i+1), slices.Delete(m.toks, i, i+1)
}

func (m *machine) begin(t *rapid.T) {
	s, n := m.seqs[m.pick(t)], rapid.IntRange(1, 300).Draw(t, "n")
	before := s.Reserved()
	err := s.BeginPrefill(n)
	if m.reader != nil {
		if !errors.Is(err, ErrPrefill) {
			t.Fatalf("a second prompt: %v", err)
		}
		return
	}
	if refused(t, s, n, err, before) {
		return
	}
	m.reader, m.layer, m.prompt = s, 0, nil
	for range n {
		m.prompt = append(m.prompt, m.token())
	}
}

func (m *machine) readLayers(t *rapid.T) {
	if m.reader == nil {
		t.Skip("no prompt")
	}
	for range rapid.IntRange(1, m.pool.Layers()).Draw(t, "layers") {
		if m.layer == m.pool.Layers() {
			break
		}
		m.kernel.prompt(m.reader, m.layer, m.prompt)
		m.layer++
	}
	if m.layer < m.pool.Layers() {
		return
	}
	if err := m.reader.EndPrefill(); err != nil {
		t.Fatal(err)
	}
	i := m.index(m.reader)
	m.toks[i] = append(m.toks[i], m.prompt...)
	m.reader = nil
}

func (m *machine) giveUpPrompt(t *rapid.T) {
	if m.reader == nil {
		t.Skip("no prompt")
	}
	m.reader.CancelPrefill()
	m.reader = nil
}

func (m *machine) check(t *rapid.T) {
	for i, s := range m.seqs {
		if s.Len() != len(m.toks[i]) {
			t.Fatalf("sequence %d has %d tokens, want %d", i, s.Len(), len(m.toks[i]))
		}
		for l := range m.pool.Layers() {
			if err := m.checkLayer(s, l, m.toks[i]); err != nil {
				t.Fatalf("sequence %d of %d tokens, %d in records: %v", i, s.Len(), s.Stored(), err)
			}
		}
	}
}

// checkLayer looks at every token that the next one sees, at pages' index, and
// at the peaks of all tokens, which may only be too high.
func (m *machine) checkLayer(s *Seq, l int, toks []uint16) error {
	mem := m.pool.Memory(l)
	from := 0
	if mem.Plan.Class == Window {
		from = max(0, len(toks)-mem.Plan.Window+1)
	}
	for pos := from; pos < len(toks); pos++ {
		if err := m.kernel.check(s, l, pos, toks[pos]); err != nil {
			return fmt.Errorf("position %d: %w", pos, err)
		}
		if mem.Plan.Class == Paged && pos < s.Stored() && pos%PageTok == 0 {
			if got := binary.LittleEndian.Uint16(m.indexMark(s, l, pos, 0)); got != mark(toks[pos], l, 0, 0) {
				return fmt.Errorf("position %d: index of layer %d holds %d", pos, l, got)
			}
		}
	}
	if mem.Plan.Class == Paged {
		if err := m.checkSet(s, l, toks); err != nil {
			return fmt.Errorf("layer %d: working set: %w", l, err)
		}
	}
	if peak := m.peaks(s, l); mem.Plan.Class == Gathered && len(toks) > 0 && peak < slices.Max(toks) {
		return fmt.Errorf("layer %d: the peak is %d, the largest token %d", l, peak, slices.Max(toks))
	}
	return nil
}
