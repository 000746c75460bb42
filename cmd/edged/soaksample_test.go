package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"edged/ipc/client"
)

// soakSample is what a daemon holds at one time.
type soakSample struct {
	rss        float64 // bytes
	held       float64 // bytes of weights, caches and activations
	files      float64 // descriptors
	goroutines float64
}

// soakWatch asks a daemon what it holds.
type soakWatch struct {
	api  *client.Client
	http *http.Transport
}

func newSoakWatch(socket string) *soakWatch {
	return &soakWatch{client.New(socket), &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", socket) }}}
}

func (w *soakWatch) close() {
	w.api.Close()
	w.http.CloseIdleConnections()
}

// metrics is the text of GET /metrics.
func (w *soakWatch) metrics(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/metrics", nil)
	if err != nil {
		return "", err
	}
	resp, err := w.http.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

func takeSample(ctx context.Context, pid int, w *soakWatch) (s soakSample, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return s, err
	}
	if s.rss, err = field(string(status), "VmRSS:"); err != nil {
		return s, err
	}
	s.rss *= 1024
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return s, err
	}
	s.files = float64(len(files))
	st, err := w.api.Status(ctx)
	if err != nil {
		return s, err
	}
	for _, m := range st.Memory {
		s.held += float64(m.Bytes)
	}
	metrics, err := w.metrics(ctx)
	if err != nil {
		return s, err
	}
	s.goroutines, err = field(metrics, "go_goroutines ")
	return s, err
}

// field is the number behind a name at the begin of a line.
func field(text, name string) (v float64, err error) {
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), name); ok {
			_, err = fmt.Sscan(rest, &v)
			return v, err
		}
	}
	return 0, fmt.Errorf("there is no %s", name)
}

// compareSamples compares the first minute after a tenth of the time, in which
// caches fill, with the last one, or quarters of a short run.
func compareSamples(t *testing.T, samples []soakSample) {
	rest := samples[len(samples)/10:]
	n := min(60, len(rest)/4)
	if n == 0 {
		t.Fatalf("only %d samples", len(samples))
	}
	for _, m := range []struct {
		name  string
		of    func(soakSample) float64
		scale float64
	}{
		{"RSS, MiB", func(s soakSample) float64 { return s.rss }, 1 << 20},
		{"model memory, MiB", func(s soakSample) float64 { return s.held }, 1 << 20},
		{"descriptors", func(s soakSample) float64 { return s.files }, 1},
		{"goroutines", func(s soakSample) float64 { return s.goroutines }, 1},
	} {
		var first, last float64
		for i := range n {
			first += m.of(rest[i]) / float64(n) / m.scale
			last += m.of(rest[len(rest)-1-i]) / float64(n) / m.scale
		}
		change := 100 * (last/first - 1)
		t.Logf("%-18s %9.2f at first, %9.2f at last: %+.2f %%", m.name, first, last, change)
		if change > 2 {
			t.Errorf("%s grew by %.2f %%, at most 2 %% are allowed", m.name, change)
		}
	}
}
