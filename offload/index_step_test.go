package offload

import (
	"fmt"
	"os"
	"regexp"
	"testing"
)

// TestBackendsCodeAlike: the distance of an index's codes is in each backend's sources, and
// a session that one has stored is read by another.
func TestBackendsCodeAlike(t *testing.T) {
	step := regexp.MustCompile(`(?m)^#define CODE_STEP ([0-9.]+)f\b`)
	for _, file := range []string{"../infer/cpu/kern/store.h", "../cudakern/src/index.cuh"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m := step.FindSubmatch(text)
		if m == nil {
			t.Errorf("%s defines no CODE_STEP", file)
		} else if want := fmt.Sprint(IndexStep); string(m[1]) != want {
			t.Errorf("%s has codes %s deviations apart, offload.IndexStep is %s", file, m[1], want)
		}
	}
}
