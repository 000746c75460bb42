package bench

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"edged/infer/cpu"
	"edged/infer/graph"
	"edged/infer/solo"
)

func TestOpsText(t *testing.T) {
	r := testReport()
	r.Rows[0].Ops = []Op{
		{OpTime: graph.OpTime{Name: "linear wq wk", Launches: 2, Seconds: 1e-3, Bytes: 50_000}, BytesPerSec: 5e7},
		{OpTime: graph.OpTime{Name: "choose", Launches: 1, Seconds: 2e-6}},
	}
	r.finish(1e8)
	var b strings.Builder
	if err := r.writeOps(&b); err != nil {
		t.Fatal(err)
	}
	want := `
ops of a step at depth 7, each by itself
      us  launches    MB  GB/s  of bandwidth                             op
  1000.0         2  0.05     0          50 %                   linear wq wk
     2.0         1  0.00     0           0 %                         choose
  1002.0            0.05                      all; a step takes 200000.0 us
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	out, err := json.Marshal(r.Rows[0].Ops[0])
	if err != nil || string(out) != `{"op":"linear wq wk","launches":2,"seconds":0.001,"bytes":50000,"bytes_per_second":50000000,"bandwidth_share":0.5}` {
		t.Errorf("%s, %v", out, err)
	}
}

// A backend that does not time ops, or has no clock for them, says so: nothing is
// left out, and no empty trace is written.
func TestOpsAndTracesNeedTheBackend(t *testing.T) {
	b := cpu.New()
	defer b.Close()
	for _, c := range []struct {
		ops, trace bool
		want       error
	}{{ops: true, want: solo.ErrNoProfile}, {trace: true, want: solo.ErrNoTrace}} {
		cfg := Config{Path: shipped(t), Backend: b, BackendName: "cpu", Threads: 1, Depths: []int{1}, Gen: 1, Reps: 1, Ops: c.ops, Trace: c.trace}
		if _, err := Run(t.Context(), cfg); !errors.Is(err, c.want) || !strings.Contains(err.Error(), "cpu") {
			t.Errorf("error is %v, want %v", err, c.want)
		}
		cfg.Depths, cfg.Prompts = nil, []int{4}
		if _, err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "depth") {
			t.Errorf("%+v without a depth: %v", c, err)
		}
	}
}
