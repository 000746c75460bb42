package bench

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"edged/infer/graph"
)

func TestTraceJSON(t *testing.T) {
	r := testReport()
	r.Rows[0].spans = []graph.OpSpan{
		{Name: "linear wq", Kernel: "tiled_q4k", Begin: 1e-6, End: 3.5e-6},
		{Name: "answer", Begin: 3.5e-6, End: 4e-6},
	}
	var b strings.Builder
	if err := r.WriteTrace(&b); err != nil {
		t.Fatal(err)
	}
	want := `{"displayTimeUnit":"ns","traceEvents":[` +
		`{"name":"process_name","ph":"M","ts":0,"dur":0,"pid":0,"tid":0,"args":{"name":"a step behind 7 tokens"}},` +
		`{"name":"linear wq","ph":"X","ts":1,"dur":2.5,"pid":0,"tid":0,"args":{"kernel":"tiled_q4k"}},` +
		`{"name":"answer","ph":"X","ts":3.5,"dur":0.5,"pid":0,"tid":0}]}` + "\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
