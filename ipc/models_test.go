package ipc

import (
	"fmt"
	"strings"
	"testing"
)

func TestModelNotFoundNamesAFew(t *testing.T) {
	var models []ModelInfo
	for i := range maxNamed {
		models = append(models, ModelInfo{ID: fmt.Sprintf("m%d", i)})
	}
	for _, tc := range []struct {
		models []ModelInfo
		want   string
	}{
		{models[:2], "lists what is: m0, m1"},
		{models, "m6, m7"},
		{append(models, ModelInfo{ID: "m8"}, ModelInfo{ID: "m9"}), "m6, m7, 2 more"},
	} {
		if got := modelNotFound("absent", tc.models).Message; !strings.HasSuffix(got, tc.want) {
			t.Errorf("%d models: got %q, want it to end with %q", len(tc.models), got, tc.want)
		}
	}
}
