package cpu_test

import (
	"fmt"
	"math"
	"testing"

	"edged/infer/cpu"
	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/offload"
)

var (
	nan = float32(math.NaN())
	inf = float32(math.Inf(1))
)

func finite(row []float32) bool {
	for _, v := range row {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return false
		}
	}
	return true
}

// q8 is [n, k] of Q8_0 codes 1 with scale 1.
func q8(n, k int) []byte {
	var out []byte
	for range n * k / 32 {
		out = append(out, 0x00, 0x3c)
		for range 32 {
			out = append(out, 1)
		}
	}
	return out
}

// TestProductsShowNonFiniteInputs puts one bad value at every place of a
// block: a code must not stand for it as if it were a number.
func TestProductsShowNonFiniteInputs(t *testing.T) {
	const vocab, k = 64, 64
	for _, isa := range cpu.ISAs() {
		for _, bad := range []float32{nan, inf, -inf} {
			t.Run(fmt.Sprintf("%s/%g", isa, bad), func(t *testing.T) {
				table := make([]float32, vocab*k) // token i has bad at channel i
				for i := range table {
					table[i] = float32(i%7 - 3)
				}
				for i := range vocab {
					table[i*k+i] = bad
				}
				p := newToy()
				x, y := p.input(vocab, table), p.buffer(vocab, graph.AllRows)
				p.emit(graph.Linear{Src: x, Parts: []graph.Part{{Dst: y, W: p.weight(gguf.Q8_0, vocab, k, q8(vocab, k)), Bias: graph.NoWeight}}})
				r := compile(t, isa, p.program(vocab, y))
				for _, n := range []int{1, 5, 12} {
					for from := 0; from+n <= vocab; from += n {
						tok := make([]int32, n)
						for i := range tok {
							tok[i] = int32(from + i)
						}
						q := newSeq(t, r.pool)
						for i, row := range r.feed(q, tok...) {
							if finite(row) {
								t.Fatalf("a step of %d rows: %g at channel %d is not seen in the product", n, bad, from+i)
							}
						}
						q.Free()
					}
				}
			})
		}
	}
}

// TestAttentionShowsNaN has one token whose key or value is NaN, at every
// place of a page: later rows that see it must not look healthy.
func TestAttentionShowsNaN(t *testing.T) {
	const vocab, dim = 32, 32
	for _, isa := range cpu.ISAs() {
		for _, where := range []string{"key", "value"} {
			t.Run(isa+"/"+where, func(t *testing.T) {
				table := make([]float32, vocab*dim)
				for i := range table {
					table[i] = float32(i%5) / 4
				}
				bad := append([]float32(nil), table...)
				bad[3] = nan // token 0's
				p := newToy(offload.LayerSpec{KVHeads: 1, HeadDim: dim})
				q, k, v, out := p.input(vocab, table), p.input(vocab, table), p.input(vocab, table), p.buffer(dim, graph.AllRows)
				if where == "key" {
					k = p.input(vocab, bad)
				} else {
					v = p.input(vocab, bad)
				}
				p.emit(graph.KVAppend{Layer: 0, K: k, V: v}, graph.Attend{Dst: out, Q: q, Layer: 0, Heads: 1, Scale: 1})
				r := compile(t, isa, p.program(vocab, out))
				for at := range offload.PageTok {
					seq := newSeq(t, r.pool)
					tok := make([]int32, 3*offload.PageTok)
					for i := range tok {
						tok[i] = int32(1 + i%(vocab-1))
					}
					tok[at] = 0
					last := r.feed(seq, tok...)[len(tok)-1]
					if alone := r.feed(seq, 1)[0]; finite(last) || finite(alone) {
						t.Fatalf("NaN in token %d's %s is not seen by later rows", at, where)
					}
					seq.Free()
				}
			})
		}
	}
}

// TestRecordsShowNaN decodes past a token whose query, key or value is not finite, with a
// working set of half the pages that there are, to which the first page always belongs.
func TestRecordsShowNaN(t *testing.T) {
	const vocab, dim, tokens, at = 64, 64, 240, 5
	for _, isa := range cpu.ISAs() {
		for _, where := range []string{"query", "key", "value"} {
			t.Run(isa+"/"+where, func(t *testing.T) {
				table := make([]float32, vocab*dim)
				for i := range table {
					table[i] = float32(i*i%7-3) / 4
				}
				tables := map[string][]float32{"query": table, "key": table, "value": table}
				tables[where] = append([]float32(nil), table...)
				tables[where][3] = nan // token 0's
				p := newToy(offload.LayerSpec{KVHeads: 1, HeadDim: dim})
				q, k, v, out := p.input(vocab, tables["query"]), p.input(vocab, tables["key"]), p.input(vocab, tables["value"]), p.buffer(dim, graph.AllRows)
				p.emit(graph.KVAppend{Layer: 0, K: k, V: v}, graph.Attend{Dst: out, Q: q, Layer: 0, Heads: 1, Scale: 1})
				prog := p.program(vocab, out)
				prog.Hidden, prog.Parts = q, []int{0, len(prog.Ops) - 1}
				plan := offload.LayerPlan{LayerSpec: prog.KV[0], Class: offload.Paged, Elem: offload.Q64, Group: offload.ColdTok, Tail: 2 * offload.PageTok, Budget: 4, Exchange: 2, ByRecord: true}
				r := compileKV(t, isa, prog, plan)
				seq := newSeq(t, r.pool)
				for i := range tokens {
					tok := int32(1 + i%(vocab-1))
					if (where == "query" && i == tokens-1) || (where != "query" && i == at) {
						tok = 0
					}
					healthy := finite(r.feed(seq, tok)[0])
					if after := i >= at && where != "query" || i == tokens-1; healthy == after {
						t.Fatalf("token %d: finite %t, want %t", i, healthy, !after)
					}
				}
				seq.Free()
			})
		}
	}
}

// TestTinyInputsAreZero has blocks whose scale is too small to be inverted.
func TestTinyInputsAreZero(t *testing.T) {
	const vocab, k = 32, 32
	for _, isa := range cpu.ISAs() {
		t.Run(isa, func(t *testing.T) {
			table := make([]float32, vocab*k)
			for i := range table {
				table[i] = float32(math.Ldexp(float64(i%3-1), -100-i/k)) // down to 2^-131
			}
			p := newToy()
			x, y := p.input(vocab, table), p.buffer(vocab, graph.AllRows)
			p.emit(graph.Linear{Src: x, Parts: []graph.Part{{Dst: y, W: p.weight(gguf.Q8_0, vocab, k, q8(vocab, k)), Bias: graph.NoWeight}}})
			r := compile(t, isa, p.program(vocab, y))
			for i := range vocab {
				q := newSeq(t, r.pool)
				for _, v := range r.feed(q, int32(i))[0] {
					if math.Abs(float64(v)) > math.Ldexp(1, -94-i) {
						t.Errorf("inputs of 2^-%d give %g", 100+i, v)
					}
				}
				q.Free()
			}
		})
	}
}

// TestActivationsStayFinite drives the gates to both ends of float32.
func TestActivationsStayFinite(t *testing.T) {
	const vocab, k = 32, 32
	for _, isa := range cpu.ISAs() {
		for _, act := range []graph.Activation{graph.SiLU, graph.GELUTanh} {
			t.Run(fmt.Sprintf("%s/%s", isa, act), func(t *testing.T) {
				gates := []float32{0, 1, -1, 20, -20, 87, -87, 89, -89, 104, -104, 1e4, -1e4, 1e13, -1e13, 1e20, -1e20, 1e38, -1e38}
				table := make([]float32, vocab*k)
				for i, g := range gates {
					table[i*k], table[i*k+1] = g, 1
				}
				pick := func(c int) []float32 {
					w := make([]float32, vocab*k)
					for i := range vocab {
						w[i*k+c] = 1
					}
					return w
				}
				p := newToy()
				x, y := p.input(vocab, table), p.buffer(vocab, graph.AllRows)
				p.emit(graph.GatedLinear{Dst: y, Src: x, Act: act, Gate: p.weight(gguf.F32, vocab, k, floats(pick(0))), Up: p.weight(gguf.F32, vocab, k, floats(pick(1)))})
				r := compile(t, isa, p.program(vocab, y))
				for i, g := range gates {
					q := newSeq(t, r.pool)
					got := float64(r.feed(q, int32(i))[0][0])
					want := float64(g) / (1 + math.Exp(-float64(g)))
					if act == graph.GELUTanh {
						want = float64(g) / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(float64(g)+0.044715*float64(g)*float64(g)*float64(g))))
					}
					// Far out the sigmoid ends at e^-88.7, not at 0.
					if d := math.Abs(got - want); !(d <= 2e-6*math.Abs(want)+math.Abs(float64(g))*4e-39+1e-7) {
						t.Errorf("%s(%g) is %g, want %g", act, g, got, want)
					}
					q.Free()
				}
			})
		}
	}
}
