package offload

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"edged/pinnedmem"
)

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
	if _, err := NewLayout(LayerSpec{KVHeads: 1, HeadDim: 4}, Q8); err == nil {
		t.Error("exact pages of codes are accepted")
	}
}

// TestRecordStrides pins where zeros, steps and codes lie: kernels in three
// languages read them.
func TestRecordStrides(t *testing.T) {
	for _, c := range []struct {
		dim, group int
		elem       Elem
		want       Record
	}{
		{64, 32, F16, Record{VScales: 4096, V: 4096, KRow: 64, VRow: 128, Bytes: 8192}},
		{64, 32, Q8, Record{K: 256, VScales: 2304, V: 2432, KRow: 32, VRow: 64, Bytes: 4480}},
		{128, 32, Q4, Record{K: 512, VScales: 2560, V: 2816, KRow: 16, VRow: 64, Bytes: 4864}},
		{128, 64, Q1, Record{K: 512, VScales: 1536, V: 2048, KRow: 4, VRow: 16, Bytes: 3072}},
		{64, 16, Q64, Record{K: 192, VScales: 960, V: 1008, KRow: 48, VRow: 32, Bytes: 1536}},
		{128, 16, Q8, Record{K: 384, VScales: 2432, V: 2528, KRow: 32, VRow: 128, Bytes: 4608}},
		{64, 64, Q64, Record{K: 256, VScales: 3328, V: 3584, KRow: 48, VRow: 32, Bytes: 5632}},
		{80, 64, Q2, Record{K: 320, VScales: 1600, V: 2112, KRow: 8, VRow: 24, Bytes: 3712}},
	} {
		r, err := NewRecord(c.dim, c.group, c.elem)
		c.want.Elem, c.want.Dim, c.want.Group = c.elem, c.dim, c.group
		if diff := cmp.Diff(c.want, r); diff != "" || err != nil {
			t.Errorf("%d channels, %d tokens in %s: %v\n%s", c.dim, c.group, c.elem, err, diff)
		}
	}
	for _, c := range []struct {
		dim, group int
		elem       Elem
	}{{0, 32, Q8}, {64, 0, Q8}, {64, 48, Q8}, {64, 512, Q8}, {64, 32, F32}} {
		if _, err := NewRecord(c.dim, c.group, c.elem); err == nil {
			t.Errorf("records of %+v are accepted", c)
		}
	}
}

func TestPlansThatDoNotFitTheirClass(t *testing.T) {
	whole, window := LayerSpec{KVHeads: 1, HeadDim: 16}, LayerSpec{KVHeads: 1, HeadDim: 16, Window: 40}
	for name, p := range map[string]LayerPlan{
		"unknown class":       {LayerSpec: whole, Class: nClass, Tail: 64},
		"exact in codes":      {LayerSpec: whole, Elem: Q8},
		"exact with a tail":   {LayerSpec: whole, Tail: 32},
		"no window":           {LayerSpec: whole, Class: Window, Tail: 96},
		"dense window":        {LayerSpec: window, Class: Dense, Group: 32, Tail: 64},
		"tail below window":   {LayerSpec: window, Class: Window, Tail: 64},
		"partial page":        {LayerSpec: window, Class: Window, Tail: 100},
		"no group":            {LayerSpec: whole, Class: Dense, Tail: 64},
		"tail below group":    {LayerSpec: whole, Class: Dense, Group: 64, Tail: 64},
		"dense with a budget": {LayerSpec: whole, Class: Dense, Group: 32, Tail: 64, Budget: 1},
		"paged without one":   {LayerSpec: whole, Class: Paged, Group: 16, Tail: 64, Exchange: 1},
		"wide paged group":    {LayerSpec: whole, Class: Paged, Group: 32, Tail: 128, Budget: 2, Exchange: 1},
		"half a pair":         {LayerSpec: whole, Class: Paged, Group: 16, Tail: 64, Budget: 3, Exchange: 1},
		"nothing exchanged":   {LayerSpec: whole, Class: Paged, Group: 16, Tail: 64, Budget: 2},
		"dense estimate":      {LayerSpec: whole, Class: Dense, Group: 32, Tail: 64, Estimate: true},
		"wide paged heads":    {LayerSpec: LayerSpec{KVHeads: 1, HeadDim: MaxIndexDim + 1}, Class: Paged, Group: 16, Tail: 64, Budget: 2, Exchange: 1},
		"dense exchange":      {LayerSpec: whole, Class: Dense, Group: 32, Tail: 64, Exchange: 1},
		"no channels":         {LayerSpec: whole, Class: Gathered, Group: 64, Tail: 128, Budget: 9},
		"too many channels":   {LayerSpec: whole, Class: Gathered, Group: 64, Tail: 128, Budget: 9, Channels: 17},
		"sink above budget":   {LayerSpec: whole, Class: Gathered, Group: 64, Tail: 128, Budget: 9, Channels: 1, Sink: 10},
		"no heads":            {LayerSpec: LayerSpec{HeadDim: 1}},
	} {
		if err := p.Check(); !errors.Is(err, ErrPlan) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPoolRefusesUnusableSizes(t *testing.T) {
	h := pinnedmem.NewHost(0)
	spec := ExactLayers([]LayerSpec{{KVHeads: 1, HeadDim: 2}}, F16)
	dense := LayerPlan{LayerSpec: spec[0].LayerSpec, Class: Dense, Group: 32, Tail: 64}
	wider := dense
	wider.Tail = 96
	for _, c := range []Config{
		{Layers: spec, Context: 0, Tokens: 1, MaxSeqs: 1},
		{Layers: spec, Context: 64, Tokens: 63, MaxSeqs: 1},
		{Layers: spec, Context: 64, Tokens: 64},
		{Context: 64, Tokens: 64, MaxSeqs: 1},
		{Layers: spec, Context: 64, Tokens: 64, MaxSeqs: 1, Decoding: 2},
		{Layers: []LayerPlan{{}}, Context: 64, Tokens: 64, MaxSeqs: 1},
		{Layers: []LayerPlan{dense, wider}, Context: 64, Tokens: 64, MaxSeqs: 1},
	} {
		if _, err := NewPool(One(h), c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
		if _, err := c.Bytes(); err == nil {
			t.Errorf("%+v has a size", c)
		}
	}
	small := pinnedmem.NewHost(1 << 16)
	if _, err := NewPool(One(small), Config{Layers: spec, Context: 1 << 20, Tokens: 1 << 20, MaxSeqs: 1}); !errors.Is(err, pinnedmem.ErrBudget) {
		t.Errorf("a pool past the budget: %v, want ErrBudget", err)
	}
	if err := errors.Join(h.Close(), small.Close()); err != nil {
		t.Error(err)
	}
}

func TestBoundsOfSequenceCalls(t *testing.T) {
	h := pinnedmem.NewHost(0)
	p, err := NewPool(One(h), Config{Layers: ExactLayers([]LayerSpec{{KVHeads: 1, HeadDim: 2}}, F16), Context: 64, Tokens: 64, MaxSeqs: 1})
	if err != nil {
		t.Fatal(err)
	}
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

func TestBoundsOfBoundedTails(t *testing.T) {
	h := pinnedmem.NewHost(0)
	p, err := NewPool(One(h), Config{Layers: mixed()[:3], Context: 320, Tokens: 320, MaxSeqs: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	a, errA := p.NewSeq()
	b, errB := p.NewSeq()
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	if err := a.Reserve(2); !errors.Is(err, errTail) {
		t.Errorf("two tokens beside a prompt: %v", err)
	}
	if err := a.EndPrefill(); err == nil {
		t.Error("a prompt that was never begun ends")
	}
	if err := a.BeginPrefill(321); !errors.Is(err, ErrContext) || a.Prefilling() != 0 {
		t.Errorf("a prompt past the context: %v", err)
	}
	if err := a.BeginPrefill(100); err != nil || a.Prefilling() != 100 {
		t.Fatal(err)
	}
	if err := b.BeginPrefill(1); !errors.Is(err, ErrPrefill) {
		t.Errorf("a second prompt: %v", err)
	}
	a.Free()
	if err := b.BeginPrefill(300); err != nil {
		t.Errorf("a prompt after the owner of the stage was freed: %v", err)
	}
	b.CancelPrefill()
	b.CancelPrefill()
	if b.Reserved() > 64 || b.Len() != 0 {
		t.Errorf("a cancelled prompt left %d tokens, %d reserved", b.Len(), b.Reserved())
	}
}
