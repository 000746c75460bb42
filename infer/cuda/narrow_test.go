package cuda

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/infer/sample"
	"edged/offload"
)

// firstRows are a step in which so many new sequences get their first token, which
// end frees.
func firstRows(t *testing.T, pool *offload.Pool, n int) (in graph.Rows, kv []*offload.Seq, end func()) {
	t.Helper()
	for s := range n {
		q, err := pool.NewSeq()
		if err == nil {
			err = q.Reserve(1)
		}
		if err != nil {
			t.Fatal(err)
		}
		in.Add(int32(s+1), 0, int32(s), true)
		kv = append(kv, q)
	}
	return in, kv, func() {
		for _, q := range kv {
			q.Free()
		}
	}
}

// runAsk takes a step of one row for each ask.
func runAsk(t *testing.T, e *exec, pool *offload.Pool, asks ...*sample.Ask) graph.Logits {
	t.Helper()
	in, kv, end := firstRows(t, pool, len(asks))
	defer end()
	in.Ask = asks
	l, err := e.Step(t.Context(), &in, kv)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestNarrowCommands pins what narrowing runs behind the logits, for each of the
// things that can be asked.
func TestNarrowCommands(t *testing.T) {
	best := &sample.Ask{}
	draw := &sample.Ask{Scale: 1, Quantile: 0.5}
	edit := &sample.Ask{Edits: sample.Edits{Add: []sample.Edit{{ID: 3, Value: 1}}}}
	masked := &sample.Ask{Mask: make([]uint64, 5), Total: true}
	const (
		tops   = "sample_tops <64x1x1, 256, 0> logits asks tops*\nsample_pick <1x1x1, 1024, 0> logits tops asks narrowed*\n"
		small  = "copy 1040 bytes from the device\n"
		change = "sample_mask <2x1x1, 256, 0> logits asks masks work*\nsample_edit <1x1x1, 256, 0> asks edits work*\n"
	)
	for _, c := range []struct {
		name string
		asks []*sample.Ask
		want string
	}{
		{"whole", []*sample.Ask{nil}, "copy 1200 bytes from the device\n"},
		{"best", []*sample.Ask{best}, tops + small},
		{"draw", []*sample.Ask{draw}, tops + "sample_sums <1x1x1, 512, 0> logits asks narrowed exponentials sums*\nsample_draw <1x1x1, 512, 0> logits asks exponentials sums narrowed*\n" + small},
		{"edit", []*sample.Ask{edit}, change + strings.ReplaceAll(tops, "logits", "work") + small},
		{"mask and total", []*sample.Ask{masked}, change + strings.ReplaceAll(tops+"sample_sums <1x1x1, 512, 0> logits asks narrowed exponentials sums*\nsample_draw <1x1x1, 512, 0> logits asks exponentials sums narrowed*\n", "logits", "work") + small},
		{"one whole, one not", []*sample.Ask{nil, best}, strings.ReplaceAll(strings.ReplaceAll(tops, "64x1x1", "64x2x1"), "1x1x1", "2x1x1") + "copy 2080 bytes from the device\ncopy 2400 bytes from the device\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(t)
			e, pool := openFakeWith(t, f, toy(gguf.Q4_K), func(l *graph.Limits) { l.MaxAsk = 2 })
			l := runAsk(t, e, pool, c.asks...)
			for i, a := range c.asks {
				if (l.Narrowed(i) != nil) != (a != nil) {
					t.Errorf("row %d narrowed: %t", i, l.Narrowed(i) != nil)
				}
				if _, err := l.Whole(i); err != nil {
					t.Error(err)
				}
			}
			for _, g := range f.graphs {
				at := slices.IndexFunc(g, func(c command) bool { return strings.Contains(c.String(), " head logits*") })
				got := ""
				for _, c := range g[at+1:] {
					got += c.String() + "\n"
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
}

// TestNarrowGraphs: what is asked does not make a graph, only its kind does.
func TestNarrowGraphs(t *testing.T) {
	f := newFake(t)
	e, pool := openFakeWith(t, f, toy(gguf.Q4_K), func(l *graph.Limits) { l.MaxAsk = 2 })
	for i := range 4 {
		runAsk(t, e, pool, &sample.Ask{Scale: 1 + float64(i)})
		runAsk(t, e, pool, &sample.Ask{Edits: sample.Edits{Add: make([]sample.Edit, i+1)}})
	}
	if len(e.graphs) != 2 {
		t.Errorf("%d graphs for two kinds of step", len(e.graphs))
	}
}

// TestNarrowVocabulary: rows of a vocabulary that kernels cannot sum stay whole.
func TestNarrowVocabulary(t *testing.T) {
	f := newFake(t)
	var n narrow
	p := &graph.Program{Vocab: mostSums*sample.SumBlock + 1}
	e := &exec{backend: f.backend(), prog: p, lim: graph.Limits{MaxAsk: 4}}
	n.plan(e)
	if got := n.fill(e, &graph.Rows{Ask: make([]*sample.Ask, 1)}); got != (outcome{whole: true}) {
		t.Errorf("%+v", got)
	}
	p.Vocab--
	if n.plan(e); n.most != 4 {
		t.Errorf("%d rows are narrowed of a vocabulary of %d", n.most, p.Vocab)
	}
}
