package offload

// Elem is the number format of cached keys and values.
type Elem uint8

// The exact formats, F16 and F32, and the quantized ones. F16 is what `full`
// keeps; F32 exists for the oracle, so that the reference backend can be
// compared with float32 implementations. QN keeps codes of N bits with a zero
// and a step in float16: x = zero + step*code, with K's in groups along time
// and V's in groups along channels (KIVI, Liu et al., arXiv:2402.02750). Q64
// has K in 6 bits and V in 4: what is found depends on keys, and a softmax
// averages the errors of values.
const (
	F16 Elem = iota
	F32
	Q8
	Q4
	Q2
	Q1
	Q64
)

var elems = [...]struct {
	name string
	k, v int // bits
}{F16: {"f16", 16, 16}, F32: {"f32", 32, 32}, Q8: {"q8", 8, 8}, Q4: {"q4", 4, 4}, Q2: {"q2", 2, 2}, Q1: {"q1", 1, 1}, Q64: {"q6v4", 6, 4}}

// KBits is the size of one channel of a key without its share of zeros and
// steps.
func (e Elem) KBits() int { return elems[e].k }

// VBits is the same of a value.
func (e Elem) VBits() int { return elems[e].v }

// Exact says whether elements are floats rather than codes.
func (e Elem) Exact() bool { return e == F16 || e == F32 }

func (e Elem) String() string { return elems[e].name }

// ElemByName finds a format; ok is false for a name that is none.
func ElemByName(name string) (e Elem, ok bool) {
	for i, x := range elems {
		if x.name == name {
			return Elem(i), true
		}
	}
	return 0, false
}
