package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"

	"edged/infer/graph"
)

// TestLostDeviceEndsTheDaemon: with an error, so that the supervisor starts it
// again.
func TestLostDeviceEndsTheDaemon(t *testing.T) {
	d := newTestService(t, "")
	d.log = slog.New(slog.DiscardHandler)
	lost := make(chan error, 1)
	d.lost = lost
	lost <- fmt.Errorf("step: %w", graph.ErrLost)
	l, err := listen(Socket{Path: filepath.Join(t.TempDir(), "s")})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.run(context.Background(), l); !errors.Is(err, graph.ErrLost) {
		t.Errorf("run ended with %v, want ErrLost", err)
	}
}
