package cuda

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/offload"
)

// beside finds commands that touch what others which run at the same time write.
func beside(cmds []command) error {
	var own, open []command
	for i, c := range cmds {
		if c.beside {
			open = append(open, c)
			continue
		}
		if own = append(own, c); c.joins {
			open = nil
		}
		if name := readsTooEarly(own); name != "" {
			return fmt.Errorf("command %d (%v) reads %s before what writes it on its stream has ended", i, c, name)
		}
		for _, o := range open {
			if name := conflict(c, o); name != "" {
				return fmt.Errorf("command %d (%v) runs beside %v, and both touch %s", i, c, o, name)
			}
		}
	}
	return nil
}

// conflict names memory that one of two commands writes and the other touches.
func conflict(a, b command) string {
	for _, x := range a.uses {
		for _, y := range b.uses {
			if (x.write || y.write) && x.at < y.at.Add(y.bytes) && y.at < x.at.Add(x.bytes) {
				return x.name
			}
		}
	}
	return ""
}

// twoLayers is the toy with its layer twice; prompts are read in parts.
func twoLayers() *graph.Program {
	p := toy(gguf.Q4_K)
	p.KV = []offload.LayerSpec{{KVHeads: 2, HeadDim: 64}, {KVHeads: 2, HeadDim: 64}}
	head := len(p.Ops) - 3
	ops := slices.Clone(p.Ops[:head])
	for _, op := range p.Ops[1:head] {
		switch o := op.(type) {
		case graph.KVAppend:
			o.Layer = 1
			op = o
		case graph.Attend:
			o.Layer = 1
			op = o
		}
		ops = append(ops, op)
	}
	p.Parts = []int{0, head, len(ops)}
	p.Ops = append(ops, p.Ops[head:]...)
	return p
}

// TestBranch: the second layer's tokens are chosen and fetched under the first one's
// products, and its attention waits for them.
func TestBranch(t *testing.T) {
	f := newFake(t)
	p := twoLayers()
	e, pool := openFakeWith(t, f, p, func(l *graph.Limits) {
		l.KV = nil
		for _, s := range p.KV {
			l.KV = append(l.KV, offload.LayerPlan{LayerSpec: s, Class: offload.Gathered, Elem: offload.F16, Group: 64, Tail: 160, Budget: 50, Channels: 8})
		}
	})
	q, err := pool.NewSeq()
	if err != nil {
		t.Fatal(err)
	}
	for range 164 {
		decodeFake(t, e, []*offload.Seq{q})
	}
	if len(f.graphs) != 2 {
		t.Fatalf("%d graphs of steps that store tokens and others", len(f.graphs))
	}
	for _, g := range f.graphs {
		var got []string
		for _, c := range g[1:] {
			name, _, _ := strings.Cut(c.kernel, "_")
			switch {
			case c.beside:
				name += ", beside"
			case c.joins:
				name += ", joins"
			}
			if c.kernel != "store_records" {
				got = append(got, name)
			}
		}
		want := strings.Fields("embed tiled norm score choose fetch attend tiled norm rope score,beside choose,beside fetch,beside tiled norm tiled tiled tiled norm attend,joins tiled norm tiled tiled select norm tiled")
		for i, w := range want {
			want[i] = strings.ReplaceAll(w, ",", ", ")
		}
		if diff := cmp.Diff(want, got[:len(want)]); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		spoilt := slices.Clone(g)
		at := slices.IndexFunc(spoilt, func(c command) bool { return c.beside })
		spoilt[at].uses = append(slices.Clone(spoilt[at].uses), e.buf(0).writing(1))
		if beside(g) != nil || beside(spoilt) == nil {
			t.Errorf("what runs beside: %v, and where it writes what the others read: %v", beside(g), beside(spoilt))
		}
	}
}

// TestSpans: what runs beside begins when all in front of it has ended, and what joins
// when both have.
func TestSpans(t *testing.T) {
	cmds := []command{{}, {}, {beside: true}, {beside: true}, {}, {}, {joins: true}, {}}
	ends := []float64{0, 1, 4, 9, 2, 3, 10, 11}
	got := [][3]float64{}
	for _, s := range spansOf(cmds, make([]string, len(cmds)), ends) {
		got = append(got, [3]float64{float64(s.Stream), s.Begin, s.End})
	}
	want := [][3]float64{{0, 0, 1}, {1, 1, 4}, {1, 4, 9}, {0, 1, 2}, {0, 2, 3}, {0, 9, 10}, {0, 10, 11}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
