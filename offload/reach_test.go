package offload

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// TestReachIsWhatSetsHold compares with a count by position.
func TestReachIsWhatSetsHold(t *testing.T) {
	k := newKernel(t, mixed())
	s := k.open(t, 150, 0)
	k.renew(t, s, 3, []int{0, 2, 3})
	k.renew(t, s, 4, []int{1})
	rapid.Check(t, func(rt *rapid.T) {
		spans := rapid.IntRange(1, 200).Draw(rt, "spans")
		r := reachOf(rt, s, spans)
		if r.Tokens != 150 || r.Layers != 5 || r.Sparse != 2 {
			rt.Fatalf("%d tokens, %d layers, %d sparse", r.Tokens, r.Layers, r.Sparse)
		}
		if len(r.Share) > spans {
			rt.Fatalf("%d shares for %d spans", len(r.Share), spans)
		}
		length := int(math.Ceil(150 / float64(spans)))
		for i, got := range r.Share {
			from, to := i*length, min((i+1)*length, 150)
			want := 0.0
			for pos := from; pos < to; pos++ {
				want += attended(k, s, pos)
			}
			if want /= float64(to - from); math.Abs(float64(got)-want) > 1e-6 {
				rt.Errorf("tokens %d to %d: %v, want %v", from, to, got, want)
			}
		}
	})
}

func reachOf(t fatalist, s *Seq, spans int) Reach {
	t.Helper()
	r, err := s.Reach(spans)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// attended is the part of the three heads of mixed's paged layers that hold a position.
func attended(k kernel, s *Seq, pos int) float64 {
	if pos >= s.Stored() {
		return 1
	}
	n := 0
	for _, at := range []struct{ layer, head int }{{3, 0}, {3, 1}, {4, 0}} {
		for _, page := range k.held(s, at.layer, at.head) {
			if pos/ColdTok == page {
				n++
			}
		}
	}
	return float64(n) / 3
}

func TestReachOfOtherCaches(t *testing.T) {
	exact := newKernel(t, []LayerPlan{{LayerSpec: LayerSpec{KVHeads: 1, HeadDim: 2}}})
	if r := reachOf(t, exact.open(t, 40, 0), 10); r.Share != nil || r.Sparse != 0 || r.Layers != 1 || r.Tokens != 40 {
		t.Errorf("an exact cache: %+v", r)
	}
	if r := reachOf(t, exact.open(t, 0, 0), 10); r.Share != nil || r.Tokens != 0 {
		t.Errorf("an empty sequence: %+v", r)
	}

	k := newKernel(t, tailored())
	s := k.open(t, 300, 0)
	l := &k.pool.layers[1]
	for head := range l.KVHeads {
		list := l.setList(s.slot, head)
		list[0], list[1], list[2] = 2, 0, uint32(head+7)
	}
	r := reachOf(t, s, 300)
	for pos, want := range map[int]float32{0: 1, 7: 0.5, 8: 0.5, 9: 0, 299: 1} {
		if r.Share[pos] != want {
			t.Errorf("token %d: %v, want %v", pos, r.Share[pos], want)
		}
	}
}
