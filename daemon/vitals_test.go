package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"edged/daemon/health"
	"edged/infer"
)

func TestReadPressure(t *testing.T) {
	const rest = "avg60=0.00 avg300=0.00 total=0\n"
	for _, c := range []struct {
		name, text string
		want       float64
		bad        bool
	}{
		{"idle", "some avg10=0.00 " + rest + "full avg10=0.00 " + rest, 0, false},
		{"busy", "some avg10=12.50 " + rest + "full avg10=3.00 " + rest, 0.125, false},
		{"full first", "full avg10=3.00 " + rest + "some avg10=100.00 " + rest, 1, false},
		{"empty", "", 0, true},
		{"no number", "some avg10=x " + rest, 0, true},
		{"too much", "some avg10=101 " + rest, 0, true},
		{"NaN", "some avg10=NaN " + rest, 0, true},
	} {
		file := writeFile(t, filepath.Join(t.TempDir(), "memory"), c.text)
		got, ok, err := readPressure(file)
		if (err != nil) != c.bad || ok == c.bad || got != c.want {
			t.Errorf("%s: %v, %v, %v", c.name, got, ok, err)
		}
	}
	if _, ok, err := readPressure(filepath.Join(t.TempDir(), "none")); ok || err != nil {
		t.Errorf("a kernel without it: %v, %v", ok, err)
	}
}

func FuzzReadPressure(f *testing.F) {
	f.Add("some avg10=12.50 avg60=0.00 avg300=0.00 total=0\n")
	file := filepath.Join(f.TempDir(), "memory")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if share, ok, err := readPressure(file); ok && (err != nil || !(share >= 0 && share <= 1)) {
			t.Errorf("%v, %v", share, err)
		}
	})
}

func TestVitalsActOnPressureAndTellOnce(t *testing.T) {
	d := newTestService(t, "[store]\nenabled = true\n")
	f := d.engine.(*fakeEngine)
	f.set(func(s *infer.Status) { *s = infer.Status{State: infer.Ready, Model: "m", Context: 512} })
	v := newVitals(d)
	share, free := 0.0, int64(diskLow)
	v.pressure = func() (float64, bool, error) { return share, true, nil }
	v.diskFree = func(string) (int64, error) { return free, nil }
	var told []string
	v.tell = func() { told = append(told, d.statusText()) }
	log := new(logBuffer)
	v.log = testLog(log)

	const ready = "ready: m, context 512 tokens"
	steps := []struct {
		share float64
		free  int64
		drops int
		line  string
	}{
		{0, diskLow, 0, ready},
		{0.099, diskLow, 0, ready},
		{0.10, diskLow, 1, ready + "; warning: in 10 % of the last 10 s something waited for memory"},
		{0.50, diskLow, 2, ready + "; warning: in 50 % of the last 10 s something waited for memory"},
		{0.05, diskLow, 2, ready + "; warning: in 50 % of the last 10 s something waited for memory"}, // not over yet
		{0.01, diskLow, 2, ready},
		{0.01, diskLow - 1, 2, ready + "; warning: 1024.0 MiB are free on the disk of " + d.cfg.Store.Dir + ", 1.0 GiB are advised"},
		{0.20, 0, 3, ready + "; warning: 0 B are free on the disk of " + d.cfg.Store.Dir + ", 1.0 GiB are advised (and 1 more)"},
		{0, diskLow, 3, ready},
	}
	for i, s := range steps {
		share, free = s.share, s.free
		v.look(t.Context())
		if f.drops != s.drops {
			t.Errorf("step %d: idle sequences were dropped %d times, want %d", i, f.drops, s.drops)
		}
		if d := cmp.Diff(s.line, told[len(told)-1]); d != "" {
			t.Errorf("step %d: %s", i, d)
		}
	}
	if n := strings.Count(log.String(), "condition=memory-pressure"); n != 4 { // twice begun, twice over
		t.Errorf("memory pressure was logged %d times:\n%s", n, log)
	}
}

// A model that could not be loaded is asked about, which lets the engine look at its file.
func TestVitalsAskForAModelThatFailed(t *testing.T) {
	d := newTestService(t, "")
	f := d.engine.(*fakeEngine)
	v := newVitals(d)
	v.tell = func() {}
	f.proof = errTest
	for _, c := range []struct {
		status infer.Status
		proofs int
		code   string
	}{
		{infer.Status{State: infer.Ready}, 0, ""},
		{infer.Status{State: infer.Failed, Reason: "lost"}, 0, "engine-failed"},
		{infer.Status{State: infer.Failed, Reason: "past the end of the file", Retries: true}, 1, "model-unloaded"},
		{infer.Status{State: infer.Failed, Reason: "past the end of the file", Retries: true}, 2, "model-unloaded"},
		{infer.Status{State: infer.Loading}, 2, ""},
	} {
		f.set(func(s *infer.Status) { *s = c.status })
		v.look(t.Context())
		code := ""
		if found := d.health.Findings(); len(found) > 0 && found[0].Severity == health.Error {
			code = found[0].Code
			if found[0].Text != c.status.Reason {
				t.Errorf("%s: %s", code, found[0].Text)
			}
		}
		if f.proofs != c.proofs || code != c.code {
			t.Errorf("%v: asked %d times, want %d; %q holds, want %q", c.status.State, f.proofs, c.proofs, code, c.code)
		}
	}
}

// The line of systemctl status is sent when it changes, and not while stopping.
func TestStatusLineIsSentOnChange(t *testing.T) {
	m := startService(t, "")
	m.engine.loads <- nil
	m.expect(t, "READY=1")
	m.engine.set(func(s *infer.Status) { s.Running, s.Queued = 1, 2 })
	m.service.tellStatus()
	m.service.tellStatus()
	m.engine.set(func(s *infer.Status) { *s = infer.Status{State: infer.Failed, Reason: "lost"} })
	m.service.tellStatus()
	var got []string
	for range 2 {
		got = append(got, m.expect(t, "STATUS="))
	}
	want := []string{"STATUS=ready: m, context 512 tokens; 1 running, 2 waiting", "STATUS=failed: lost"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
