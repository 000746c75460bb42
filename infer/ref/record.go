package ref

import (
	"encoding/binary"
	"math"

	"github.com/x448/float16"

	"edged/offload"
)

// record is the stored form of a group of tokens of one KV head.
type record struct {
	at offload.Record
	b  []byte
}

// kvStore writes the records of tokens that leave the tails in this step. A
// prompt's records are written after its last rows instead.
func (s step) kvStore(layer int) {
	if s.prompt {
		return
	}
	for i, q := range s.kv {
		if s.rowOf(i) >= 0 {
			from, to := q.Flush(q.Len() + 1)
			s.view(i, layer).store(from, to)
		}
	}
}

// store writes tokens [from, to) from where they lie exactly.
func (v view) store(from, to int) {
	if !v.mem.Plan.Class.Stored() {
		return
	}
	for pos := from; pos < to; pos += v.mem.Plan.Group {
		for head := range v.mem.Plan.KVHeads {
			r := record{at: v.mem.Record, b: v.record(pos, head)}
			clear(r.b)
			for c := range r.at.Dim {
				keys := v.keys(pos, head, c, r.at.Group)
				r.setKeys(c, keys)
				if v.mem.Plan.Class == offload.Gathered {
					v.raisePeaks(head, c, keys)
				}
			}
			for t := range r.at.Group {
				r.setValue(t, v.value(pos+t, head))
			}
			if v.mem.Plan.Class == offload.Paged && pos%offload.PageTok == 0 {
				v.writeIndex(pos, head)
			}
		}
	}
}

// keys are one channel of the exact keys of n tokens.
func (v view) keys(pos, head, channel, n int) []float32 {
	x := make([]float32, n)
	for t := range x {
		s := v.exact(pos + t)
		x[t] = float32(s.get(s.kAt(head, channel)))
	}
	return x
}

// value is one token's exact value.
func (v view) value(pos, head int) []float32 {
	x := make([]float32, v.mem.Plan.HeadDim)
	s := v.exact(pos)
	for c := range x {
		x[c] = float32(s.get(s.vAt(head, c)))
	}
	return x
}

// putStep writes the i-th step from a byte offset on.
func (r record) putStep(at, i int, step float32) {
	if r.at.StepBytes() == 1 {
		r.b[at+i] = offload.StepFor(step)
	} else {
		putHalf(r.b[at+2*i:], step)
	}
}

// step reads it.
func (r record) step(at, i int) float64 {
	if r.at.StepBytes() == 1 {
		return float64(offload.StepOf(r.b[at+i]))
	}
	return float64(half(r.b[at+2*i:]))
}

// setKeys writes one channel of all tokens.
func (r record) setKeys(channel int, x []float32) {
	var c coder
	if !r.at.Elem.Exact() {
		c = newCoder(x, r.at.Elem.KBits(), r.at.StepBytes())
		putHalf(r.b[r.at.KScales+2*channel:], c.zero)
		r.putStep(r.at.KSteps(), channel, c.step)
	}
	for t, v := range x {
		at, i := r.keyAt(t, channel)
		r.set(at, i, r.at.Elem.KBits(), v, c)
		if r.at.KRows > 0 {
			r.set(r.at.KRows+2*t*r.at.Dim, channel, r.at.Elem.KBits(), v, c)
		}
	}
}

// keyAt is where one channel of one token of K is kept: the byte offset of its
// neighbours and its place among them.
func (r record) keyAt(t, channel int) (at, i int) {
	if r.at.Elem.Exact() {
		n := min(r.at.Group, offload.PageTok)
		return r.at.K + (t/n*r.at.Dim+channel)*r.at.KRow, t % n
	}
	run, i := r.at.KCode(t, channel)
	return r.at.K + run*r.at.KRow, i
}

// setValue writes one token.
func (r record) setValue(t int, x []float32) {
	row := r.at.V + t*r.at.VRow
	if r.at.Elem.Exact() {
		for i, v := range x {
			r.set(row, i, r.at.Elem.VBits(), v, coder{})
		}
		return
	}
	for g := range r.at.VGroups() {
		part := x[g*offload.VGroup : min((g+1)*offload.VGroup, len(x))]
		c := newCoder(part, r.at.Elem.VBits(), r.at.StepBytes())
		at := t*r.at.VGroups() + g
		putHalf(r.b[r.at.VScales+2*at:], c.zero)
		r.putStep(r.at.VSteps(), at, c.step)
		for i, v := range part {
			r.set(row, g*offload.VGroup+i, r.at.Elem.VBits(), v, c)
		}
	}
}

// set writes the i-th of neighbouring values from a byte offset on, where there
// was 0.
func (r record) set(at, i, bits int, x float32, c coder) {
	if r.at.Elem.Exact() {
		putHalf(r.b[at+2*i:], x)
		return
	}
	run, j := r.run(at, i, bits)
	code := c.code(x)
	if bits == 6 && j >= len(run) {
		for part := range 3 {
			run[part*16+j-len(run)] |= byte(code>>(2*part)&3) << 6
		}
		return
	}
	run[j%len(run)] |= byte(code << (bits * (j / len(run))))
}

// run is the bytes of the run of the i-th of neighbouring codes from a byte
// offset on, and its place there.
func (r record) run(at, i, bits int) (run []byte, j int) {
	n := offload.RunCodes(bits)
	return r.b[at+i/n*n*bits/8:][:n*bits/8], i % n
}

// get reads the i-th of neighbouring values from a byte offset on.
func (r record) get(at, i, bits int, zero, step float64) float64 {
	if r.at.Elem.Exact() {
		return float64(half(r.b[at+2*i:]))
	}
	run, j := r.run(at, i, bits)
	code := 0
	if bits == 6 && j >= len(run) {
		for part := range 3 {
			code |= int(run[part*16+j-len(run)]) >> 6 << (2 * part)
		}
	} else {
		code = int(run[j%len(run)]) >> (bits * (j / len(run))) & (1<<bits - 1)
	}
	return zero + step*float64(code)
}

// token reads the t-th token.
func (r record) token(t int, k, v []float64) {
	var zero, step float64
	for c := range k {
		if !r.at.Elem.Exact() {
			zero, step = float64(half(r.b[r.at.KScales+2*c:])), r.step(r.at.KSteps(), c)
		}
		at, i := r.keyAt(t, c)
		k[c] = r.get(at, i, r.at.Elem.KBits(), zero, step)
	}
	for c := range v {
		if g := t*r.at.VGroups() + c/offload.VGroup; !r.at.Elem.Exact() {
			zero, step = float64(half(r.b[r.at.VScales+2*g:])), r.step(r.at.VSteps(), g)
		}
		v[c] = r.get(r.at.V+t*r.at.VRow, c, r.at.Elem.VBits(), zero, step)
	}
}

func half(b []byte) float32 { return float16.Frombits(binary.NativeEndian.Uint16(b)).Float32() }

func putHalf(b []byte, x float32) {
	binary.NativeEndian.PutUint16(b, float16.Fromfloat32(x).Bits())
}

// coder turns values into codes: x = zero + step*code. It computes in float32,
// as every backend must, so that all write the same codes.
type coder struct {
	zero, step, inv float32
	top             int
}

// newCoder spans the values with codes of so many bits, with a step of so many
// bytes. A value that is not finite makes zero NaN, so that whoever reads the
// codes sees it.
func newCoder(x []float32, bits, stepBytes int) coder {
	lo, hi, bad := x[0], x[0], float32(0)
	for _, v := range x {
		lo, hi = min(lo, v), max(hi, v)
		bad += v * 0
	}
	c := coder{top: 1<<bits - 1}
	c.zero = float16.Fromfloat32(lo + bad).Float32()
	c.step = (hi - lo) / float32(c.top)
	if stepBytes == 1 {
		c.step = offload.StepOf(offload.StepFor(c.step))
	} else {
		c.step = float16.Fromfloat32(c.step).Float32()
	}
	if c.step > 0 {
		c.inv = 1 / c.step
	}
	return c
}

func (c coder) code(x float32) int {
	v := math.RoundToEven(float64((x - c.zero) * c.inv))
	if !(v > 0) { // NaN too
		return 0
	}
	return min(int(math.Min(v, float64(c.top))), c.top)
}
