package backendtest

import (
	"fmt"
	"math"
	"testing"

	"github.com/x448/float16"

	"edged/offload"
)

// lane is values that share a zero and a step.
type lane struct {
	zero, step float64
	bits       int // of a code
	codes      []int
	exact      []float32
}

// err is the largest distance from the exact values beyond half a step and
// what float16 makes of zero and step.
func (l lane) err() error {
	top := float64(int(1)<<l.bits - 1)
	scale := math.Max(l.step*math.Ldexp(1, -11), math.Ldexp(1, -25))*top + math.Abs(l.zero)*math.Ldexp(1, -11)
	bound := (l.step/2+scale)*(1+1e-6) + 1e-9
	for i, x := range l.exact {
		kept := l.zero + l.step*float64(l.codes[i])
		if d := math.Abs(kept - float64(x)); !(d <= bound) {
			return fmt.Errorf("value %d of %d is kept as %g, not %g: further than half a step of %g", i, len(l.exact), kept, x, l.step)
		}
	}
	return nil
}

// closeToExact compares a sequence's records with the toy's exact values.
func closeToExact(t *testing.T, toy *cacheToy, q *offload.Seq, tok []int32) {
	t.Helper()
	for i := range q.Pool().Layers() {
		l := layerOf(q, i)
		for pos := 0; l.mem.Plan.Class.Stored() && pos < q.Stored(); pos += l.mem.Plan.Group {
			for head := range l.mem.Plan.KVHeads {
				for _, x := range toy.lanes(l, pos, head, tok[pos:pos+l.mem.Plan.Group]) {
					if err := x.err(); err != nil {
						t.Fatalf("layer %d, head %d, %s record of token %d: %v", i, head, l.mem.Plan.Elem, pos, err)
					}
				}
			}
		}
	}
}

func (c *cacheToy) lanes(l layerSeq, pos, head int, tok []int32) []lane {
	u, r := l.unpack(pos, head), l.mem.Record
	keys, values := make([][]float32, len(tok)), make([][]float32, len(tok))
	for i, t := range tok {
		keys[i], values[i] = c.key(l.layer, t, head), c.value(l.layer, t, head)
	}
	if r.Elem == offload.F16 {
		return exactLanes(u, keys, values)
	}
	half := func(i int) float64 { return float64(float16.Frombits(u.halves[i]).Float32()) }
	step := func(i int) float64 {
		if r.StepBytes() == 1 {
			return float64(offload.StepOf(byte(u.halves[i])))
		}
		return half(i)
	}
	var lanes []lane
	for ch := range r.Dim {
		x := lane{zero: half(ch), step: step(r.Dim + ch), bits: r.Elem.KBits()}
		for i := range tok {
			x.exact = append(x.exact, keys[i][ch])
			run, at := r.KCode(i, ch)
			x.codes = append(x.codes, u.codes[run*offload.RunCodes(r.Elem.KBits())+at])
		}
		lanes = append(lanes, x)
	}
	first, n := 2*r.Dim, r.Group*r.VGroups()
	codes := u.codes[r.KRuns()*offload.RunCodes(r.Elem.KBits()):]
	for i := range tok {
		for g := range r.VGroups() {
			lo, hi := g*offload.VGroup, min((g+1)*offload.VGroup, r.Dim)
			at := first + i*r.VGroups() + g
			lanes = append(lanes, lane{zero: half(at), step: step(at + n), bits: r.Elem.VBits(), codes: codes[i*r.Dim+lo : i*r.Dim+hi], exact: values[i][lo:hi]})
		}
	}
	return lanes
}

// exactLanes treats every value of an F16 record as a zero of its own.
func exactLanes(u unpacked, keys, values [][]float32) []lane {
	dim := len(keys[0])
	var lanes []lane
	add := func(at int, x float32) {
		lanes = append(lanes, lane{zero: float64(float16.Frombits(u.halves[at]).Float32()), bits: 1, codes: []int{0}, exact: []float32{x}})
	}
	for i := range keys {
		for c := range dim {
			n := min(len(keys), offload.PageTok)
			add((i/n*dim+c)*n+i%n, keys[i][c])
			add(len(keys)*dim+i*dim+c, values[i][c])
		}
	}
	return lanes
}
