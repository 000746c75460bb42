package health

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var (
	bad    = &Condition{Code: "bad", Severity: Error}
	odd    = &Condition{Code: "odd", Severity: Warning}
	odder  = &Condition{Code: "odder", Severity: Warning}
	noted  = &Condition{Code: "noted", Severity: Info}
	listed = []*Condition{noted, odd, bad, odder}
)

func TestWorstAndOldestFirst(t *testing.T) {
	now := time.Unix(100, 0)
	r := New(func() time.Time { return now }, listed...)
	for _, c := range []*Condition{noted, odder, odd, bad} {
		if !r.Set(c, "first") {
			t.Errorf("%s was set already", c.Code)
		}
		now = now.Add(time.Second)
	}
	if r.Set(odder, "second") {
		t.Error("a new text counted as a new condition")
	}
	var got []string
	for _, f := range r.Findings() {
		got = append(got, fmt.Sprintf("%s %s %s %d", f.Severity, f.Code, f.Text, f.Since.Unix()))
	}
	want := []string{"error bad first 103", "warning odder second 101", "warning odd first 102", "info noted first 100"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestUndeclaredPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	New(time.Now, bad).Set(odd, "")
}

// A registry must agree with a map of what was last said.
func TestAgreesWithWhatWasSaid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(0, 0)
		r := New(func() time.Time { return now }, listed...)
		since := map[string]time.Time{}
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			now = now.Add(time.Second)
			c := rapid.SampledFrom(listed).Draw(t, "condition")
			_, held := since[c.Code]
			if rapid.Bool().Draw(t, "set") {
				if news := r.Set(c, "x"); news == held {
					t.Fatalf("set %s: news %v, held %v", c.Code, news, held)
				}
				if !held {
					since[c.Code] = now
				}
			} else {
				if had := r.Clear(c); had != held {
					t.Fatalf("clear %s: %v, held %v", c.Code, had, held)
				}
				delete(since, c.Code)
			}
		}
		got := map[string]time.Time{}
		for _, f := range r.Findings() {
			got[f.Code] = f.Since
		}
		if diff := cmp.Diff(since, got); diff != "" {
			t.Fatal(diff)
		}
	})
}
