package cuda

import (
	"errors"
	"os"
	"testing"

	"edged/cudakern/driver"
	"edged/infer/graph"
	"edged/offload"
)

// Open gives the first GPU, or skips the test where there is none;
// EDGED_REQUIRE_CUDA=1 turns that into a failure.
func Open(t *testing.T) *Backend {
	t.Helper()
	b, err := New(0)
	if errors.Is(err, driver.ErrNoDriver) && os.Getenv("EDGED_REQUIRE_CUDA") != "1" {
		t.Skipf("this test needs a GPU: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// Keeps says whether a cache layer of that plan is supported, whatever the
// context.
func (b *Backend) Keeps(p offload.LayerPlan) bool {
	e := &exec{backend: b, lim: graph.Limits{Context: 1}}
	return e.refuses(p) == ""
}
