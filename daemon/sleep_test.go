package daemon

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"edged/cudakern/driver"
)

func TestSleepIsToldFromASetClock(t *testing.T) {
	slept := []time.Duration{time.Hour, time.Hour + time.Millisecond, 3 * time.Hour, 3 * time.Hour, 3*time.Hour + time.Second}
	i := -1
	var got []time.Duration
	reportSleep(time.Hour, func() error {
		if i++; i == len(slept) {
			return errTest
		}
		return nil
	}, func() (time.Duration, error) { return slept[i], nil }, func(d time.Duration) { got = append(got, d) })
	want := []time.Duration{2*time.Hour - time.Millisecond, time.Second}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// The kernel takes the timer, and the end of a context ends the wait.
func TestClockJumpsCanBeWaitedFor(t *testing.T) {
	j, err := newClockJumps()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- j.wait() }()
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("the wait ended without an error")
	}
	if slept, err := sleptFor(); err != nil || slept < -time.Second {
		t.Errorf("slept for %v, %v", slept, err)
	}
}

// After a sleep, the model proves itself; when it cannot, the daemon ends, for the
// service manager to start it anew.
func TestResume(t *testing.T) {
	m := startService(t, "")
	m.engine.loads <- nil
	m.expect(t, "READY=1")
	m.service.resumed <- time.Minute
	m.expect(t, "STATUS=ready: m, context 512 tokens")
	m.engine.mu.Lock()
	if m.engine.proofs != 1 {
		t.Errorf("%d proofs", m.engine.proofs)
	}
	m.engine.proof = errTest
	m.engine.mu.Unlock()
	m.service.resumed <- time.Minute
	if err := m.end(t); !errors.Is(err, errTest) {
		t.Errorf("got %v", err)
	}
}

var errNoDevice = fmt.Errorf("open backend cuda: %w", driver.ErrNoDriver)

// A GPU that comes late is waited for, and nothing else is.
func TestOpenEngineWaitsForItsDevice(t *testing.T) {
	for _, c := range []struct {
		name     string
		failures []error
		tries    int
		want     error
	}{
		{"there", nil, 1, nil},
		{"late", []error{errNoDevice, errNoDevice}, 3, nil},
		{"never", []error{errNoDevice, errNoDevice, errNoDevice, errNoDevice, errNoDevice, errNoDevice, errNoDevice}, len(deviceWaits) + 1, errNoDevice},
		{"another error", []error{errTest}, 1, errTest},
	} {
		tries, waited := 0, 0
		err := waitForDevice(t.Context(), func(context.Context, time.Duration, error) error { waited++; return nil }, func() error {
			tries++
			if tries <= len(c.failures) {
				return c.failures[tries-1]
			}
			return nil
		})
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) || tries != c.tries || waited != tries-1 {
			t.Errorf("%s: %v after %d tries and %d waits", c.name, err, tries, waited)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := waitForDevice(ctx, notifier{testLog(new(logBuffer))}.waitForDevice, func() error { return errNoDevice }); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}
