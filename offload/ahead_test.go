package offload

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"edged/pinnedmem"
)

// TestPromptGoesOnInAnotherPool saves what some layers have of a prompt, layer by
// layer, restores it elsewhere, and lets both read the other layers: they must
// come to the same bytes.
func TestPromptGoesOnInAnotherPool(t *testing.T) {
	for _, name := range []string{"windows", "mixed", "tailored"} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { promptGoesOn(t, plansByName()[name]) })
		})
	}
}

func promptGoesOn(t *rapid.T, plans []LayerPlan) {
	h := pinnedmem.NewHost(0)
	a, b := rapidKernel(t, h, plans, testContext), rapidKernel(t, h, plans, testContext+100)
	defer a.pool.Close()
	defer b.pool.Close()
	before := heldCounts(b.pool)
	stale := b.empty(t)
	b.read(t, stale, 290, 7000) // leaves other bytes in free memory
	stale.Free()

	toks := make([]uint16, rapid.IntRange(1, testContext-1).Draw(t, "tokens"))
	for i := range toks {
		toks[i] = uint16(1 + i)
	}
	layers := len(plans)
	done := rapid.IntRange(0, layers).Draw(t, "layers done")
	s := a.empty(t)
	if err := s.BeginPrefill(len(toks)); err != nil {
		t.Fatal(err)
	}
	var blocks [][]kept
	from := 0 // layers that are saved
	save := func(to int) {
		ahead, err := s.Ahead()
		if err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, make([][]kept, ahead.Blocks()-len(blocks))...)
		for i := range ahead.Blocks() {
			blocks[i] = append(blocks[i], ownParts(ahead.Block(i, from, to))...)
		}
		from = to
	}
	for l := range done {
		a.prompt(s, l, toks)
		if rapid.Bool().Draw(t, "save") {
			save(l + 1)
		}
	}
	save(done)
	ahead, err := s.Ahead()
	if err != nil {
		t.Fatal(err)
	}
	parts, err := ahead.Tail(done)
	if err != nil {
		t.Fatal(err)
	}
	tail := ownParts(parts)

	r, err := b.pool.BeginRestoreAhead(tail[0].Data[0], done)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.pool.BeginRestoreAhead(tail[0].Data[0], done); !errors.Is(err, ErrPrefill) {
		t.Fatalf("two prompts at once: %v", err)
	}
	for i, parts := range blocks {
		for _, p := range parts {
			if err := r.PutBlock(i, p.ID, 0, p.Data[0]); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, p := range tail[1:] {
		if err := r.PutTail(p.ID, 0, p.Data[0]); err != nil {
			t.Fatal(err)
		}
	}
	q, err := r.Finish()
	if err != nil {
		t.Fatal(err)
	}
	for l := done; l < layers; l++ {
		a.prompt(s, l, toks)
		b.prompt(q, l, toks)
	}
	if err := errors.Join(s.EndPrefill(), q.EndPrefill()); err != nil {
		t.Fatal(err)
	}
	var v saved
	v.grow(t, s)
	v.mustBe(t, q)
	q.Free()
	for i, c := range heldCounts(b.pool) {
		if c != before[i] {
			t.Fatalf("layer %d: %v references and free units, %v before", i, c, before[i])
		}
	}
}

func TestPromptsThatDoNotFitAreRefused(t *testing.T) {
	k := newKernel(t, mixed())
	s := k.empty(t)
	if _, err := s.Ahead(); err == nil {
		t.Error("a sequence that reads no prompt looks ahead")
	}
	k.read(t, s, 40, 1)
	if err := s.BeginPrefill(300); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Ahead(); err == nil {
		t.Error("a sequence that has tokens looks ahead")
	}
	s.Free()
	s = k.empty(t)
	if err := s.BeginPrefill(300); err != nil {
		t.Fatal(err)
	}
	a, err := s.Ahead()
	if err != nil {
		t.Fatal(err)
	}
	parts, err := a.Tail(0)
	if err != nil {
		t.Fatal(err)
	}
	state := ownParts(parts)[0].Data[0]
	s.Free()
	for name, c := range map[string]struct {
		layers int
		state  []byte
	}{"too many layers": {len(mixed()) + 1, state}, "fewer than none": {-1, state}, "half a state": {1, state[:20]}} {
		if _, err := k.pool.BeginRestoreAhead(c.state, c.layers); !errors.Is(err, ErrSnapshot) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r, err := k.pool.BeginRestoreAhead(state, 2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Finish(); !errors.Is(err, ErrSnapshot) {
		t.Errorf("layers are missing: %v", err)
	}
	if err := k.empty(t).BeginPrefill(300); err != nil {
		t.Errorf("after a restore that failed: %v", err)
	}
}
