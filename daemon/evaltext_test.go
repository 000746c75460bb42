package daemon

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPassagesAreSpreadOverTheText(t *testing.T) {
	ids, bos := []int32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, []int32{-1}
	for name, c := range map[string]struct {
		n, tokens int
		want      [][]int32
	}{
		"one":          {1, 4, [][]int32{{-1, 0, 1, 2}}},
		"all":          {1, 11, [][]int32{{-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9}}},
		"two":          {2, 4, [][]int32{{-1, 0, 1, 2}, {-1, 7, 8, 9}}},
		"side by side": {5, 3, [][]int32{{-1, 0, 1}, {-1, 2, 3}, {-1, 4, 5}, {-1, 6, 7}, {-1, 8, 9}}},
		"too long":     {1, 12, nil},
		"too many":     {4, 4, nil},
	} {
		got, err := passagesOf(ids, bos, c.n, c.tokens)
		if (err != nil) != (c.want == nil) {
			t.Errorf("%s: error %v", name, err)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}
