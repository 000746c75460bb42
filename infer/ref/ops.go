package ref

import (
	"math"

	"edged/infer/graph"
)

// embed copies the table's rows [vocab, width] of the tokens, scaled.
func embed(dst matrix, table []float32, tok []int32, scale float32) {
	for i, t := range tok {
		src := table[int(t)*dst.width : (int(t)+1)*dst.width]
		for c, v := range src {
			dst.row(i)[c] = v * scale
		}
	}
}

// rmsNorm writes w * x / rms(x) row by row; dst and src may be the same.
func rmsNorm(dst, src matrix, w []float32, eps float32) {
	for i := range src.rows {
		x, y := src.row(i), dst.row(i)
		r := invRMS(x, eps)
		for c := range x {
			y[c] = float32(float64(x[c]) * r * float64(w[c]))
		}
	}
}

// addRMSNorm adds w * y / rms(y) to x row by row.
func addRMSNorm(x, y matrix, w []float32, eps float32) {
	for i := range x.rows {
		a, b := x.row(i), y.row(i)
		r := invRMS(b, eps)
		for c := range a {
			a[c] += float32(float64(b[c]) * r * float64(w[c]))
		}
	}
}

// invRMS is 1 / sqrt(mean(x^2) + eps).
func invRMS(x []float32, eps float32) float64 {
	var sum float64
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return 1 / math.Sqrt(sum/float64(len(x))+float64(eps))
}

// rope rotates channel pairs of every head by position times frequency.
// Channels beyond the table's stay as they are.
func rope(x matrix, heads, dim int, pos []int32, t graph.RopeTable) {
	for i := range x.rows {
		for f, freq := range t.InvFreq {
			sin, cos := math.Sincos(float64(pos[i]) * freq)
			sin, cos = sin*float64(t.Scale), cos*float64(t.Scale)
			a, b := ropePair(f, t)
			for h := range heads {
				head := x.row(i)[h*dim : (h+1)*dim]
				u, v := float64(head[a]), float64(head[b])
				head[a] = float32(u*cos - v*sin)
				head[b] = float32(u*sin + v*cos)
			}
		}
	}
}

// ropePair is the two channels that the f-th frequency rotates.
func ropePair(f int, t graph.RopeTable) (int, int) {
	if t.Interleaved {
		return 2 * f, 2*f + 1
	}
	return f, f + len(t.InvFreq)
}

// selectRows copies the rows whose logits are wanted.
func selectRows(dst, src matrix, out []int32) {
	for i, r := range out {
		copy(dst.row(i), src.row(int(r)))
	}
}

// activate applies the gate's nonlinearity.
func activate(a graph.Activation, x float64) float64 {
	if a == graph.GELUTanh {
		return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
	}
	return x / (1 + math.Exp(-x))
}
