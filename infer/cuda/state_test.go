package cuda

import (
	"encoding/binary"
	"math"
	"testing"

	"edged/infer/gguf"
	"edged/infer/graph"
)

// TestStepNumbers: no two steps between which marks are not forgotten have one number, and marks stay below 2^32.
func TestStepNumbers(t *testing.T) {
	f := newFake(t)
	e, _ := openFakeWith(t, f, toy(gguf.Q4_K), func(*graph.Limits) {})
	s := &e.state
	number := func() uint32 { return binary.NativeEndian.Uint32(s.host[s.bytes()-4:]) }
	if !s.count() || number() != 1 {
		t.Errorf("the first step has number %d", number())
	}
	if s.count() || number() != 2 {
		t.Errorf("the second step has number %d", number())
	}
	layers := uint64(len(e.lim.KV))
	if mark := uint64(s.mostSteps)*layers + layers - 1; mark > math.MaxUint32 || mark+2*layers < math.MaxUint32 {
		t.Errorf("the last mark is %d", mark)
	}
	s.steps = s.mostSteps - 1
	if s.count() || number() != s.mostSteps {
		t.Errorf("the last step has number %d of %d", number(), s.mostSteps)
	}
	if !s.count() || number() != 1 {
		t.Errorf("the step behind the last has number %d", number())
	}
}
