package ipc_test

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"edged/ipc"
	"edged/ipc/api"
	"edged/ipc/client"
	"edged/ipc/ipctest"
)

// operator is an ipc.Operator whose answers the test decides.
type operator struct {
	prove  func(context.Context) error
	found  []api.Condition
	status api.Status
	err    error
}

func (o *operator) Prove(ctx context.Context) error { return o.prove(ctx) }

func (o *operator) Conditions() []api.Condition { return o.found }

func (o *operator) Status(context.Context) (api.Status, error) { return o.status, o.err }

func (o *operator) Metrics() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("edged_up 1\n")) })
}

// watched serves engine with an operator, and returns how to ask.
func watched(t *testing.T, engine ipc.Engine, o *operator) (get func(path string) answer, c *client.Client) {
	t.Helper()
	path := ipctest.Serve(t, engine, ipc.Options{Operator: o})
	c = client.New(path)
	t.Cleanup(c.Close)
	s := &served{client: unixClient(t, path)}
	return func(p string) answer { return s.do(t, "GET", p, "") }, c
}

func TestReadyAsksForADecode(t *testing.T) {
	engine, o := ipctest.New(), &operator{}
	get, _ := watched(t, engine, o)
	asked := 0
	dead := errors.New("the device is lost")
	for _, c := range []struct {
		name   string
		state  ipc.Status
		prove  error
		status int
		body   string
		asked  int
	}{
		{"decodes", ipc.Status{State: ipc.Ready}, nil, 200, `{"status":"ready"}`, 1},
		{"does not", ipc.Status{State: ipc.Ready}, dead, 503, `{"status":"failed","text":"the device is lost"}`, 1},
		{"has failed", ipc.Status{State: ipc.Failed, Text: "no device"}, dead, 503, `{"status":"failed","text":"no device"}`, 0},
		{"has failed and tries again", ipc.Status{State: ipc.Failed, Text: "a bad file", Retries: true}, dead, 503, `{"status":"failed","text":"a bad file"}`, 1},
		{"loads", ipc.Status{State: ipc.Loading, Text: "40 %"}, nil, 503, `{"status":"loading","text":"40 %"}`, 0},
		{"drains", ipc.Status{State: ipc.Draining}, nil, 503, `{"status":"draining"}`, 0},
	} {
		engine.SetStatus(c.state)
		asked = 0
		o.prove = func(context.Context) error { asked++; return c.prove }
		if a := get("/readyz"); a.status != c.status || a.body != c.body+"\n" || asked != c.asked {
			t.Errorf("%s: %d %s, asked %d times", c.name, a.status, a.body, asked)
		}
	}
	// An engine that finds out that it has failed says why itself.
	engine.SetStatus(ipc.Status{State: ipc.Ready})
	o.prove = func(context.Context) error {
		engine.SetStatus(ipc.Status{State: ipc.Failed, Text: "logit 3 is NaN"})
		return dead
	}
	if a := get("/readyz"); a.status != 503 || a.body != `{"status":"failed","text":"logit 3 is NaN"}`+"\n" {
		t.Errorf("failed meanwhile: %d %s", a.status, a.body)
	}
}

func TestVerboseHealth(t *testing.T) {
	o := &operator{found: []api.Condition{{Code: "store-disk", Severity: "warning", Title: "t", Text: "x", Since: 5, Remedy: "r"}}}
	get, _ := watched(t, ipctest.New(), o)
	if a := get("/healthz"); a.status != 200 || a.body != `{"status":"ok"}`+"\n" {
		t.Errorf("plain: %d %s", a.status, a.body)
	}
	want := `{"status":"ok","conditions":[{"code":"store-disk","severity":"warning","title":"t","text":"x","since":5,"remedy":"r"}]}` + "\n"
	if a := get("/healthz?verbose"); a.status != 200 || a.body != want {
		t.Errorf("verbose: %d %s", a.status, a.body)
	}
	o.found = []api.Condition{} // as where nothing is wrong
	if a := get("/healthz?verbose"); a.status != 200 || a.body != `{"status":"ok","conditions":[]}`+"\n" {
		t.Errorf("well: %d %s", a.status, a.body)
	}
}

func TestStatusAndMetrics(t *testing.T) {
	engine, o := ipctest.New(), &operator{status: api.Status{Version: "v1", State: "overwritten"}}
	engine.SetStatus(ipc.Status{State: ipc.Ready, Text: "m"})
	get, c := watched(t, engine, o)
	s, err := c.Status(t.Context())
	if err != nil || s.Version != "v1" || s.State != "ready" || s.Text != "m" {
		t.Errorf("status: %+v, %v", s, err)
	}
	if a := get("/metrics"); a.status != 200 || a.body != "edged_up 1\n" {
		t.Errorf("metrics: %d %s", a.status, a.body)
	}
	o.err = errors.New("the store's disk is gone")
	if a := get("/status"); a.status != 500 || strings.Contains(a.body, "disk") {
		t.Errorf("a status that cannot be told: %d %s", a.status, a.body)
	}
	plain := serveSocket(t, ipctest.New())
	for _, path := range []string{"/status", "/metrics"} {
		if a := plain.do(t, "GET", path, ""); a.status != 404 {
			t.Errorf("%s without an operator: %d", filepath.Base(path), a.status)
		}
	}
}
