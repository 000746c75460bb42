package graph

import (
	"errors"
	"strings"
	"testing"

	"edged/infer/gguf"
	"edged/offload"
)

// valid is a program of every op, one layer deep.
func valid() *Program {
	vec := func(name string, k int) Weight { return Weight{Name: name, Type: gguf.F32, N: 1, K: k} }
	mat := func(name string, n, k int) Weight { return Weight{Name: name, Type: gguf.F32, N: n, K: k} }
	return &Program{
		Name: "test", Vocab: 10, Context: 64, Logits: 6,
		Buffers: []Buffer{{"x", 8, AllRows}, {"n", 8, AllRows}, {"kv", 4, AllRows}, {"mlp", 12, AllRows}, {"last", 8, OutRows}, {"lastn", 8, OutRows}, {"logits", 10, OutRows}},
		Weights: []Weight{mat("embd", 10, 8), vec("norm", 8), mat("q", 8, 8), mat("kv", 4, 8), vec("head", 4), mat("up", 12, 8), mat("down", 8, 12), vec("bias", 8)},
		Ropes:   []RopeTable{{InvFreq: []float64{1, 0.5}, Scale: 1}},
		KV:      []offload.LayerSpec{{KVHeads: 1, HeadDim: 4}},
		Ops: []Op{
			Embed{Dst: 0, Table: 0, Scale: 1},
			RMSNorm{Dst: 1, Src: 0, W: 1},
			Linear{Src: 0, Parts: []Part{{Dst: 1, W: 2, Bias: 7}, {Dst: 2, W: 3, Bias: NoWeight}}},
			HeadNorm{X: 1, Heads: 2, Dim: 4, W: 4},
			Rope{X: 1, Heads: 2, Dim: 4},
			KVAppend{Layer: 0, K: 2, V: 2},
			Attend{Dst: 0, Q: 1, Layer: 0, Heads: 2, Scale: 1},
			AddRMSNorm{X: 0, Y: 1, W: 1},
			GatedLinear{Dst: 3, Src: 1, Gate: 5, Up: 5},
			Linear{Src: 3, Parts: []Part{{Dst: 0, W: 6, Bias: NoWeight, Add: true}}},
			Select{Dst: 4, Src: 0},
			RMSNorm{Dst: 5, Src: 4, W: 1},
			Linear{Src: 5, Parts: []Part{{Dst: 6, W: 0, Bias: NoWeight}}},
		},
	}
}

func TestValidateAcceptsEveryOp(t *testing.T) {
	if err := valid().Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestValidateNamesWhatDoesNotFit(t *testing.T) {
	for _, c := range []struct {
		want  string
		spoil func(*Program)
	}{
		{"vocab 0", func(p *Program) { p.Vocab = 0 }},
		{"logits", func(p *Program) { p.Logits = 0 }},
		{"buffer 9 does not exist", func(p *Program) { p.Ops[1] = RMSNorm{Dst: 9, Src: 0, W: 1} }},
		{"weight 99 does not exist", func(p *Program) { p.Ops[1] = RMSNorm{Dst: 1, Src: 0, W: 99} }},
		{"different rows", func(p *Program) { p.Ops[1] = RMSNorm{Dst: 4, Src: 0, W: 1} }},
		{"embd is [10,8], not [10,4]", func(p *Program) { p.Ops[0] = Embed{Dst: 2, Table: 0} }},
		{"without parts", func(p *Program) { p.Ops[2] = Linear{Src: 0} }},
		{"its own input", func(p *Program) { p.Ops[2] = Linear{Src: 0, Parts: []Part{{Dst: 0, W: 2, Bias: NoWeight}}} }},
		{"another part's result", func(p *Program) {
			p.Ops[2] = Linear{Src: 0, Parts: []Part{{Dst: 1, W: 2, Bias: NoWeight}, {Dst: 1, W: 2, Bias: NoWeight}}}
		}},
		{"gated linear writes its own input", func(p *Program) { p.Ops[8] = GatedLinear{Dst: 1, Src: 1, Gate: 2, Up: 2} }},
		{"bias is [1,8], not [1,4]", func(p *Program) { p.Ops[2] = Linear{Src: 0, Parts: []Part{{Dst: 2, W: 3, Bias: 7}}} }},
		{"buffer last has the rows", func(p *Program) { p.Ops[2] = Linear{Src: 0, Parts: []Part{{Dst: 4, W: 2, Bias: NoWeight}}} }},
		{"not 12", func(p *Program) { p.Ops[3] = HeadNorm{X: 1, Heads: 3, Dim: 4, W: 4} }},
		{"rope table 3", func(p *Program) { p.Ops[4] = Rope{X: 1, Heads: 2, Dim: 4, Table: 3} }},
		{"rope of 4 channels on heads of 2", func(p *Program) { p.Ops[4] = Rope{X: 1, Heads: 4, Dim: 2} }},
		{"cache layer 1", func(p *Program) { p.Ops[5] = KVAppend{Layer: 1, K: 2, V: 2} }},
		{"buffer x is 8 wide, not 4", func(p *Program) { p.Ops[5] = KVAppend{Layer: 0, K: 2, V: 0} }},
		{"3 query heads over 2", func(p *Program) {
			p.KV[0].KVHeads = 2
			p.Ops[5], p.Ops[6] = p.Ops[0], Attend{Dst: 0, Q: 1, Layer: 0, Heads: 3}
		}},
		{"all rows to output rows", func(p *Program) { p.Ops[10] = Select{Dst: 1, Src: 0} }},
	} {
		p := valid()
		c.spoil(p)
		if err := p.Validate(); !errors.Is(err, ErrProgram) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error is %v, want one about %q", err, c.want)
		}
	}
}

func TestStringNamesEveryOp(t *testing.T) {
	s := valid().String()
	for _, w := range []string{"embed embd:F32[10,8]", "rmsnorm", "linear x: n = q:F32[8,8] + bias:F32[1,8]; kv = kv:F32[4,8]", "headnorm [2,4]", "rope [2,4], table 0", "kv_append layer 0", "attend layer 0: n [2/1,4]", "silu(n up:F32[12,8])", "x += down", "last = select x"} {
		if !strings.Contains(s, w) {
			t.Errorf("program does not say %q:\n%s", w, s)
		}
	}
}

func TestLimitsAreNamed(t *testing.T) {
	if err := (Limits{MaxRows: 1, MaxOut: 1, MaxSeqs: 1, Context: 1}).Validate(); err == nil || !strings.Contains(err.Error(), "threads is 0") {
		t.Errorf("error is %v, want one about threads", err)
	}
	if err := (Limits{MaxRows: 1, MaxOut: 1, MaxSeqs: 1, Context: 1, Threads: 1}).Validate(); err == nil {
		t.Error("limits without a memory account are accepted")
	}
}
