package ipc

import (
	"testing"
	"time"
)

// The file of a resident model may be gone: it has no time then, and not one of the
// year 1.
func TestCreated(t *testing.T) {
	if n := modelOf(ModelInfo{ID: "m"}).Created; n != 0 {
		t.Errorf("without a file it was made at %d", n)
	}
	if n := modelOf(ModelInfo{ID: "m", Created: time.Unix(5, 1)}).Created; n != 5 {
		t.Errorf("got %d, want 5", n)
	}
}
