package offload

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"edged/pinnedmem"
)

// saveOne is a snapshot of n tokens in a pool of its own. The last one was
// decoded, with pages 1 and 4 in the working sets.
func saveOne(t *testing.T, plans []LayerPlan, n int) saved {
	t.Helper()
	k := newKernel(t, plans)
	s := k.empty(t)
	k.read(t, s, n-1, 1)
	k.choose(t, s, uint16(n), []int{1, 4})
	var v saved
	v.grow(t, s)
	return v
}

// TestSnapshotsTellNothingOfOthers looks for what lay in memory before: tokens
// of other sequences, and so of other users.
func TestSnapshotsTellNothingOfOthers(t *testing.T) {
	// Records end with a block here; the test kernel does not write all of an
	// index. TestClearedIndex has the rest.
	for name, n := range map[string]int{"exact": 276, "windows": 276, "mixed": 276, "tailored": 356} {
		var tails [2][]kept
		for i, old := range []byte{0x55, 0xaa} {
			k := newKernel(t, plansByName()[name])
			for _, a := range k.pool.memory.open {
				for at := range a.Bytes() {
					a.Bytes()[at] = old
				}
			}
			for l := range k.pool.layers {
				k.pool.layers[l].fill()
			}
			if err := k.pool.emptySets(); err != nil {
				t.Fatal(err)
			}
			s := k.empty(t)
			k.read(t, s, n, 1)
			tails[i] = tailParts(t, s)
		}
		sameParts(t, tails[0], tails[1])
	}
}

// TestClearedIndex counts what is left of an index.
func TestClearedIndex(t *testing.T) {
	for _, x := range []Index{NewIndex(64, false), NewIndex(80, true), NewIndex(128, true)} {
		page := x.Padded + x.Ranks() + x.PageBytes()
		if x.Values > 0 {
			page += 2*x.Padded + 4
		}
		full := bytes.Repeat([]byte{1}, x.Bytes)
		for n := range blockPages + 1 {
			b := bytes.Clone(full)
			x.clearFrom(b, n)
			if got := bytes.Count(b, []byte{0}); got != (blockPages-n)*page {
				t.Errorf("%d of %d pages kept: %d bytes are cleared, want %d", n, blockPages, got, (blockPages-n)*page)
			}
			if !bytes.Equal(b[:x.Means], full[:x.Means]) {
				t.Errorf("%d pages kept: what all pages share is gone", n)
			}
			for kept := range n {
				if b[x.Means+x.Beside(kept, 0)] == 0 || b[x.Codes+kept*x.PageBytes()] == 0 {
					t.Errorf("%d pages kept: page %d is not", n, kept)
				}
			}
		}
	}
}

func TestSnapshotsThatDoNotFitAreRefused(t *testing.T) {
	const n = 420
	v := saveOne(t, mixed(), n)
	other := mixed()
	other[2].Elem = Q8
	longer := mixed()
	longer[0].Tail += PageTok
	word := func(at int, x uint32) func(*saved) {
		return func(v *saved) { binary.LittleEndian.PutUint32(v.tail[0].Data[0][at:], x) }
	}
	for name, c := range map[string]struct {
		plans  []LayerPlan
		change func(*saved)
		want   error
	}{
		"other records":      {plans: other},
		"other tails":        {plans: longer},
		"fewer layers":       {plans: mixed()[:4]},
		"no state":           {change: func(v *saved) { v.tail[0].Data[0] = nil }},
		"half a state":       {change: func(v *saved) { v.tail[0].Data[0] = v.tail[0].Data[0][:50] }},
		"longer state":       {change: func(v *saved) { v.tail[0].Data[0] = append(v.tail[0].Data[0], 0) }},
		"other fingerprint":  {change: word(0, 1)},
		"too many tokens":    {change: word(32, testContext+1), want: ErrContext},
		"part of a group":    {change: word(36, 385)},
		"records to come":    {change: word(36, 448)},
		"records missing":    {change: word(36, 352)},
		"window with a hole": {change: word(40, 416)},
		"window too long":    {change: word(40, 256)},
		"set of all pages":   {change: word(44, 500)},
		"page twice":         {change: word(52, 1)},
		"page to come":       {change: word(52, 26)},
		"block missing":      {change: func(v *saved) { v.blocks = nil }},
		"one block more":     {change: func(v *saved) { v.blocks = append(v.blocks, v.blocks[0]) }},
		"layer missing":      {change: func(v *saved) { v.blocks[0] = v.blocks[0][1:] }},
		"layer too short":    {change: func(v *saved) { v.blocks[0][0].Data[0] = v.blocks[0][0].Data[0][1:] }},
		"layer too long":     {change: func(v *saved) { v.tail[1].Data[0] = append(v.tail[1].Data[0], 0) }},
		"unknown layer":      {change: func(v *saved) { v.tail[1].ID = len(mixed()) + 1 }},
		"state among layers": {change: func(v *saved) { v.tail[1].ID = StatePart }},
		"layer twice":        {change: func(v *saved) { v.tail = append(v.tail, v.tail[1]) }},
	} {
		t.Run(name, func(t *testing.T) {
			v := saved{blocks: [][]kept{cloned(v.blocks[0])}, tail: cloned(v.tail)}
			if c.plans == nil {
				c.plans = mixed()
			}
			if c.want == nil {
				c.want = ErrSnapshot
			}
			if c.change != nil {
				c.change(&v)
			}
			k := newKernel(t, c.plans)
			before := heldCounts(k.pool)
			if _, err := v.restore(k.pool, 999, false); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			} else {
				t.Log(err)
			}
			if diff := cmp.Diff(before, heldCounts(k.pool)); diff != "" {
				t.Errorf("a refused snapshot left something behind: %s", diff)
			}
			for range testSeqs {
				k.empty(t)
			}
		})
	}
}

func TestRestoreNeedsRoom(t *testing.T) {
	v := saveOne(t, mixed(), 420)
	k := newKernel(t, mixed())
	var all []*Seq
	for range testSeqs {
		all = append(all, k.empty(t))
	}
	if _, err := v.restore(k.pool, 1000, true); !errors.Is(err, ErrNoSlots) {
		t.Errorf("without a slot: %v", err)
	}
	all[3].Free()
	k.read(t, all[0], testContext, 1)
	k.read(t, all[1], testContext, 1)
	before := heldCounts(k.pool)
	if _, err := v.restore(k.pool, 1000, true); !errors.Is(err, ErrNoPages) {
		t.Errorf("without units: %v", err)
	}
	if diff := cmp.Diff(before, heldCounts(k.pool)); diff != "" {
		t.Errorf("a restore without units left something behind: %s", diff)
	}
	all[0].Free()
	s, err := v.restore(k.pool, 1000, true)
	if err != nil {
		t.Fatal(err)
	}
	v.mustBe(t, s)
}

// TestRestoreRunsBesideSteps is for the race detector: a restore touches only its
// own memory until it ends, and so does who reads whole blocks.
func TestRestoreRunsBesideSteps(t *testing.T) {
	v := saveOne(t, mixed(), 420)
	k := newKernel(t, mixed())
	live := k.empty(t)
	k.read(t, live, 300, 1)
	r, err := k.pool.BeginRestore(v.tail[0].Data[0])
	if err != nil {
		t.Fatal(err)
	}
	parts, err := live.SnapshotBlock(0)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	var block []kept
	go func() {
		block = ownParts(parts)
		err := v.pieces(v.blocks[0], 100, func(part int, off int64, data []byte) error { return r.PutBlock(0, part, off, data) })
		done <- errors.Join(err, v.pieces(v.tail[1:], 100, r.PutTail))
	}()
	for i := range 200 {
		k.choose(t, live, uint16(i), []int{i % 8, 9})
	}
	k.empty(t).Free()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	s, err := r.Finish()
	if err != nil {
		t.Fatal(err)
	}
	v.mustBe(t, s)
	sameParts(t, block, ownParts(parts))
}

// TestFormatNamesWhatBytesMean and leaves out what they do not depend on.
func TestFormatNamesWhatBytesMean(t *testing.T) {
	plans := append(mixed(), mixed()[4])
	const want = "KV cache 3: pages of 32 tokens, cold ones of 16, blocks of 256" +
		"; layers 0-0: window f16, 2 heads of 4, window 40, tail 128" +
		"; layers 1-1: exact f16, 1 heads of 2" +
		"; layers 2-2: dense f16, 2 heads of 4, tail 64, groups of 32 in 512 bytes" +
		"; layers 3-3: paged f16, 2 heads of 4, tail 64, groups of 16 in 256 bytes, index of 2048 bytes, codes 1.145 deviations apart" +
		"; layers 4-5: paged f16, 1 heads of 2, tail 64, groups of 16 in 128 bytes, index of 2304 bytes, codes 1.145 deviations apart"
	if diff := cmp.Diff(want, newKernel(t, plans).pool.Format()); diff != "" {
		t.Error(diff)
	}
	plans[3].Budget, plans[3].Exchange = 20, 7
	if diff := cmp.Diff(want, newKernel(t, plans).pool.Format()); diff != "" {
		t.Errorf("with other working sets: %s", diff)
	}
}

// FuzzRestore gives a pool states that anybody may have written.
func FuzzRestore(f *testing.F) {
	names := []string{"exact", "windows", "mixed", "tailored"}
	h := pinnedmem.NewHost(0)
	var kernels []kernel
	for i, name := range names {
		k := rapidKernel(f, h, plansByName()[name], testContext)
		kernels = append(kernels, k)
		s := k.empty(f)
		k.read(f, s, 300, 1)
		for range 10 {
			k.choose(f, s, 5, []int{0, 3})
		}
		f.Add(i, tailParts(f, s)[0].Data[0])
		s.Free()
	}
	f.Fuzz(func(t *testing.T, i int, state []byte) {
		p := kernels[uint(i)%uint(len(kernels))].pool
		before := heldCounts(p)
		r, err := p.BeginRestore(state)
		if err == nil {
			var s *Seq
			if s, err = r.Finish(); err == nil { // there was nothing but the state
				s.Free()
			}
		}
		if err != nil && !errors.Is(err, ErrSnapshot) && !errors.Is(err, ErrContext) {
			t.Error(err)
		}
		if diff := cmp.Diff(before, heldCounts(p)); diff != "" {
			t.Error(diff)
		}
	})
}
