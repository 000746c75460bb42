package daemon

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"edged/infer"
	"edged/ipc"
	"edged/ipc/client"
)

func codes(found []string, o *operator) []string {
	for _, c := range o.Conditions() {
		found = append(found, c.Severity+" "+c.Code)
	}
	return found
}

func testOperator(t *testing.T, doc string) (*fakeEngine, *operator) {
	t.Helper()
	m := newTestService(t, doc)
	return m.engine.(*fakeEngine), &operator{engine: m.engine, health: m.health, cfg: &m.current, version: "v", started: time.Now()}
}

func TestConditionsFollowTheEngine(t *testing.T) {
	f, o := testOperator(t, "")
	for _, c := range []struct {
		name   string
		status infer.Status
		want   []string
	}{
		{"well", infer.Status{State: infer.Ready, Model: "m", Context: 512, TrainContext: 512, Cache: "exact f16"}, nil},
		{"short and partial", infer.Status{State: infer.Ready, Model: "m", Context: 512, TrainContext: 1024, Cache: "paged q8"},
			[]string{"warning context-short", "info cache-partial"}},
		{"gathered", infer.Status{State: infer.Ready, Model: "m", Context: 512, TrainContext: 512, Cache: "gathered f16"}, []string{"info cache-partial"}},
		{"failed", infer.Status{State: infer.Failed, Reason: "no device"}, []string{"error engine-failed"}},
		{"well again", infer.Status{State: infer.Ready, Model: "m", Context: 512, TrainContext: 512}, nil},
	} {
		f.set(func(s *infer.Status) { *s = c.status })
		if d := cmp.Diff(c.want, codes(nil, o)); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

// A context that was asked for is not short of the model's own.
func TestConfiguredContextIsNoCondition(t *testing.T) {
	f, o := testOperator(t, "[[model]]\nname = \"m\"\npath = \"m.gguf\"\ncontext = 512\n")
	f.set(func(s *infer.Status) {
		*s = infer.Status{State: infer.Ready, Model: "m", Context: 512, TrainContext: 1024}
	})
	if got := codes(nil, o); got != nil {
		t.Errorf("got %v", got)
	}
}

// Every decode that /readyz causes is one that somebody asked for.
func TestReadyzProves(t *testing.T) {
	m := startService(t, "")
	c := client.New(m.socket)
	defer c.Close()
	m.engine.loads <- nil
	m.expect(t, "READY=1")
	if n := m.engine.proofs; n != 0 {
		t.Errorf("%d proofs before anybody asked", n)
	}
	if h, err := c.Ready(t.Context()); err != nil || h.Status != "ready" {
		t.Errorf("%+v, %v", h, err)
	}
	m.engine.mu.Lock()
	m.engine.proof = errTest
	m.engine.mu.Unlock()
	if h, err := c.Ready(t.Context()); err != nil || h.Status != "failed" || h.Text != errTest.Error() {
		t.Errorf("an engine that does not decode: %+v, %v", h, err)
	}
	s, err := c.Status(t.Context())
	if err != nil || s.State != "ready" || s.Model == nil || s.Model.ID != "m" || s.Version != "test" || s.Host.Total == 0 || s.Store != nil {
		t.Errorf("status %+v, %v", s, err)
	}
}

func TestMetrics(t *testing.T) {
	f, o := testOperator(t, "")
	f.set(func(s *infer.Status) {
		*s = infer.Status{State: infer.Ready, Model: "m", Context: 512, TrainContext: 1024, Cache: "q8 resident",
			ReadTok: 30, GeneratedTok: 4, NarrowedTok: 3, Running: 1, LastStep: time.Now()}
		s.Memory[0], s.FastMemory[0] = 100, 60
	})
	meter := newMeter()
	result := ipc.Result{CachedTokens: 5, RestoredTokens: 2, CompletionTokens: 3, PredictTime: 20 * time.Millisecond}
	for _, err := range []error{nil, errTest, &ipc.Error{Kind: ipc.KindBusy}} {
		_, _ = meter.generate(func(ipc.Delta) error { return nil }, func(emit func(ipc.Delta) error) (ipc.Result, error) {
			return result, emitThen(emit, err)
		})
	}
	h := metricsHandler(meter, o, testLog(new(logBuffer)))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	b, err := io.ReadAll(w.Result().Body)
	if err != nil || w.Code != 200 {
		t.Fatalf("%d %v: %s", w.Code, err, b)
	}
	for _, want := range []string{
		`edged_requests_total{outcome="done"} 1`, `edged_requests_total{outcome="failed"} 1`, `edged_requests_total{outcome="refused"} 1`,
		"edged_cached_tokens_total 5", "edged_restored_tokens_total 2", "edged_first_token_seconds_count 3", "edged_token_seconds_sum 0.01",
		"edged_prompt_tokens_total 30", "edged_generated_tokens_total 4", "edged_narrowed_tokens_total 3", "edged_requests_running 1",
		`edged_memory_bytes{purpose="weights",tier="device"} 60`, `edged_memory_bytes{purpose="weights",tier="host"} 40`,
		`edged_health_condition{code="context-short",severity="warning"} 1`, `edged_health_condition{code="engine-failed",severity="error"} 0`,
		`edged_model_info{cache="q8 resident",model="m"} 1`, "process_resident_memory_bytes ", "go_goroutines ",
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %q in\n%s", want, b)
		}
	}
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(append(meter.collectors(), statusCollector{o})...)
	problems, err := testutil.GatherAndLint(r)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

func emitThen(emit func(ipc.Delta) error, err error) error {
	if e := emit(ipc.Delta{Text: "x"}); e != nil {
		return e
	}
	return err
}
