package ref

import (
	"sync"

	"edged/infer/graph"
)

// matrix64 is an input widened once, so that the inner loops only multiply
// and add.
type matrix64 struct {
	data        []float64
	rows, width int
}

func (m matrix64) row(i int) []float64 { return m.data[i*m.width : (i+1)*m.width] }

func newMatrix64(rows, width int) matrix64 {
	return matrix64{data: make([]float64, rows*width), rows: rows, width: width}
}

// linear runs every part of the op on one widened input.
func (s step) linear(o graph.Linear) {
	x := widenAll(s.buf(o.Src))
	for _, p := range o.Parts {
		var bias []float32
		if p.Bias != graph.NoWeight {
			bias = s.weights[p.Bias]
		}
		linear(s.buf(p.Dst), x, s.weights[p.W], bias, p.Add, s.lim.Threads)
	}
}

// linear is dst = x w^T + bias, or dst += with add; w is [dst.width, x.width].
func linear(dst matrix, x matrix64, w, bias []float32, add bool, threads int) {
	parallel(dst.width, threads, func(lo, hi int) {
		wn := make([]float64, x.width)
		for n := lo; n < hi; n++ {
			widen(wn, w[n*x.width:])
			for i := range x.rows {
				y := dot(wn, x.row(i))
				if bias != nil {
					y += float64(bias[n])
				}
				if add {
					y += float64(dst.row(i)[n])
				}
				dst.row(i)[n] = float32(y)
			}
		}
	})
}

// gatedLinear is dst = act(x gate^T) * (x up^T).
func gatedLinear(dst matrix, x matrix64, gate, up []float32, act graph.Activation, threads int) {
	parallel(dst.width, threads, func(lo, hi int) {
		g, u := make([]float64, x.width), make([]float64, x.width)
		for n := lo; n < hi; n++ {
			widen(g, gate[n*x.width:])
			widen(u, up[n*x.width:])
			for i := range x.rows {
				dst.row(i)[n] = float32(activate(act, dot(g, x.row(i))) * dot(u, x.row(i)))
			}
		}
	})
}

// dot sums in four interleaved lanes: one lane would wait for every addition.
func dot(a, b []float64) float64 {
	var s0, s1, s2, s3 float64
	for len(a) >= 4 && len(b) >= 4 {
		s0 += a[0] * b[0]
		s1 += a[1] * b[1]
		s2 += a[2] * b[2]
		s3 += a[3] * b[3]
		a, b = a[4:], b[4:]
	}
	for i := range a {
		s0 += a[i] * b[i]
	}
	return s0 + s1 + (s2 + s3)
}

func widen(dst []float64, src []float32) {
	for i := range dst {
		dst[i] = float64(src[i])
	}
}

func widenAll(m matrix) matrix64 {
	x := newMatrix64(m.rows, m.width)
	widen(x.data, m.data)
	return x
}

// parallel splits [0, n) into one range per thread and waits for all.
func parallel(n, threads int, work func(lo, hi int)) {
	threads = max(min(n, threads), 1)
	var wg sync.WaitGroup
	for t := range threads {
		wg.Go(func() { work(t*n/threads, (t+1)*n/threads) })
	}
	wg.Wait()
}
