package ref

import (
	"math"
	"math/cmplx"
	"math/rand/v2"
	"testing"

	"edged/infer/graph"
)

// The tests compare each op with its definition, evaluated another way.

func randomMatrix(rng *rand.Rand, rows, width int) matrix {
	m := matrix{data: make([]float32, rows*width), rows: rows, width: width}
	for i := range m.data {
		m.data[i] = float32(rng.NormFloat64())
	}
	return m
}

func clone(m matrix) matrix {
	m.data = append([]float32(nil), m.data...)
	return m
}

func near(t *testing.T, what string, got float32, want float64) {
	t.Helper()
	if math.Abs(float64(got)-want) > 1e-6*math.Max(1, math.Abs(want)) {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

func TestRMSNormHasUnitRMS(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	x := randomMatrix(rng, 3, 37)
	w := randomMatrix(rng, 1, 37)
	sum := randomMatrix(rng, 3, 37)
	before := clone(sum)
	y := clone(x)
	rmsNorm(y, x, w.data, 0)
	addRMSNorm(sum, x, w.data, 0)
	for i := range x.rows {
		var mean float64
		for c := range x.width {
			u := float64(y.row(i)[c]) / float64(w.data[c])
			mean += u * u / float64(x.width)
			// Direction is kept: the ratio to the input is one number per row.
			near(t, "ratio", float32(u/float64(x.row(i)[c])), float64(y.row(i)[0])/float64(w.data[0])/float64(x.row(i)[0]))
			near(t, "added norm", sum.row(i)[c], float64(before.row(i)[c])+float64(y.row(i)[c]))
		}
		near(t, "mean square", float32(mean), 1)
	}
	rmsNorm(y, matrix{data: make([]float32, len(x.data)), rows: x.rows, width: x.width}, w.data, 1e-6)
	near(t, "norm of zero", y.data[5], 0)
}

// A rotated pair is a complex number times exp(i angle).
func TestRopeMultipliesComplexNumbers(t *testing.T) {
	for _, interleaved := range []bool{true, false} {
		rng := rand.New(rand.NewPCG(2, 2))
		const heads, dim, pairs = 3, 10, 4
		table := graph.RopeTable{InvFreq: []float64{1, 0.3, 0.02, 0.001}, Scale: 1.5, Interleaved: interleaved}
		x := randomMatrix(rng, 2, heads*dim)
		y := clone(x)
		pos := []int32{0, 12345}
		rope(y, heads, dim, pos, table)
		for i := range x.rows {
			for h := range heads {
				for f := range pairs {
					a, b := h*dim+f, h*dim+f+pairs
					if interleaved {
						a, b = h*dim+2*f, h*dim+2*f+1
					}
					want := complex(float64(x.row(i)[a]), float64(x.row(i)[b])) * cmplx.Rect(1.5, float64(pos[i])*table.InvFreq[f])
					near(t, "first channel", y.row(i)[a], real(want))
					near(t, "second channel", y.row(i)[b], imag(want))
				}
				for c := 2 * pairs; c < dim; c++ {
					near(t, "channel beyond the table", y.row(i)[h*dim+c], float64(x.row(i)[h*dim+c]))
				}
			}
		}
	}
}

func TestLinearAndGatedLinear(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	const n, k = 7, 13
	x, gate, up, bias := randomMatrix(rng, 4, k), randomMatrix(rng, n, k), randomMatrix(rng, n, k), randomMatrix(rng, 1, n)
	product := func(w matrix, i, j int) (y float64) {
		for c := k - 1; c >= 0; c-- {
			y += float64(w.row(j)[c]) * float64(x.row(i)[c])
		}
		return y
	}
	plain, added, gated := randomMatrix(rng, 4, n), randomMatrix(rng, 4, n), randomMatrix(rng, 4, n)
	before := clone(added)
	linear(plain, widenAll(x), gate.data, nil, false, 3)
	linear(added, widenAll(x), gate.data, bias.data, true, 2)
	gatedLinear(gated, widenAll(x), gate.data, up.data, graph.SiLU, 2)
	for i := range x.rows {
		for j := range n {
			g, u := product(gate, i, j), product(up, i, j)
			near(t, "product", plain.row(i)[j], g)
			near(t, "product with bias, added", added.row(i)[j], g+float64(bias.data[j])+float64(before.row(i)[j]))
			near(t, "gated product", gated.row(i)[j], g*u/(1+math.Exp(-g)))
		}
	}
}

// The values are of torch 2.15.0: nn.functional.silu(x) and
// nn.functional.gelu(x, approximate="tanh"), in float64.
func TestActivations(t *testing.T) {
	for _, c := range []struct{ x, silu, gelu float64 }{
		{-6, -0.014835738939808647, -8.43964897967453e-11},
		{-0.75, -0.24061597561845527, -0.17003944483437966},
		{0, 0, 0},
		{1, 0.7310585786300049, 0.8411919906082768},
		{4, 3.928055160151634, 3.9999297540518075},
		{-1e4, 0, 0},
		{1e4, 1e4, 1e4},
	} {
		near(t, "SiLU", float32(activate(graph.SiLU, c.x)), c.silu)
		near(t, "GELU", float32(activate(graph.GELUTanh, c.x)), c.gelu)
	}
}

// Attention is the mean of v weighted by exp(scale q.k), here summed from the
// last token to the first and without subtracting the largest score.
func TestAttendOne(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	const tokens, dim, scale = 50, 6, 0.7
	q, k, v := randomMatrix(rng, 1, dim), randomMatrix(rng, tokens, dim), randomMatrix(rng, tokens, dim)
	dst := make([]float32, dim)
	attendOne(dst, q.data, widenAll(k), widenAll(v), scale, rest{})
	var norm float64
	want := make([]float64, dim)
	for j := tokens - 1; j >= 0; j-- {
		var s float64
		for c := range dim {
			s += float64(q.data[c]) * float64(k.row(j)[c])
		}
		e := math.Exp(scale * s)
		norm += e
		for c := range dim {
			want[c] += e * float64(v.row(j)[c])
		}
	}
	for c := range dim {
		near(t, "attention", dst[c], want[c]/norm)
	}
	// Scores far beyond exp's range still pick the best token.
	for c := range q.data {
		q.data[c] *= 1e4
	}
	attendOne(dst, q.data, widenAll(k.first(1)), widenAll(v.first(1)), scale, rest{})
	near(t, "single token", dst[0], float64(v.row(0)[0]))
}

func (m matrix) first(n int) matrix { return matrix{data: m.data[:n*m.width], rows: n, width: m.width} }
