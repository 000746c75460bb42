package offload

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPolicyByName(t *testing.T) {
	for name, want := range map[string]Elem{"full": F16, "q8": Q8, "q4": Q4, "auto": Q8, "auto+q4": Q4, "tailorkv": F16} {
		if p, err := PolicyByName(name); err != nil || p.Elem != want || p.Name != name {
			t.Errorf("%s is %+v, %v", name, p, err)
		}
	}
	for name, want := range map[string]string{
		"fulll":       `"fulll" is not known; known: auto, full, q4, q8, tailorkv, and compositions such as auto+q4`,
		"auto+":       `"" is not known`,
		"auto+q3":     `"q3" is not known`,
		"full+q8":     "full does not compose with q8 (quantization); it composes with nothing more",
		"auto+full":   "auto does not compose with full (complete); it composes with quantization",
		"auto+q8+q4":  "auto+q8 does not compose with q4 (quantization); it composes with nothing more",
		"tailorkv+q8": "tailorkv does not compose with q8",
		"":            `"" is not known`,
	} {
		_, err := PolicyByName(name)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", name, err, want)
		}
	}
}

func TestPoliciesDescribeThemselves(t *testing.T) {
	want := []string{
		"full: complete by layer", "q8: quantization by layer", "q4: quantization by layer",
		"auto: selection by page", "tailorkv: selection by token, needs calibration",
	}
	var got []string
	for _, p := range Policies() {
		got = append(got, p.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestBadOptionsAreRefused(t *testing.T) {
	layers := append(alike(2, LayerSpec{KVHeads: 1, HeadDim: 64}), LayerSpec{KVHeads: 1, HeadDim: 64, Window: 128})
	for _, c := range []struct {
		policy string
		o      Options
		want   string
	}{
		{"full", Options{Budget: 64}, "policy full has no option budget; it has elem, exact"},
		{"q8", Options{Elem: "q4"}, "policy q8 has no option elem; it has none"},
		{"auto", Options{Sink: 4}, "no option sink"},
		{"auto", Options{Channels: 4}, "no option channels"},
		{"auto", Options{Exact: true}, "no option exact"},
		{"tailorkv", Options{Exchange: 16}, "no option exchange"},
		{"tailorkv", Options{Sparse: true}, "no option sparse"},
		{"full", Options{Elem: "q8"}, `elem is "q8", must be one of [f16 f32]`},
		{"auto", Options{Elem: "f32"}, `elem is "f32", must be one of [f16 q8 q6v4 q4 q2 q1]`},
		{"auto", Options{DenseElem: "q3"}, `dense elem is "q3"`},
		{"auto+q4", Options{Elem: "q8"}, "policy auto+q4 keeps q4, elem says q8"},
		{"auto", Options{Budget: -1}, "a budget of -1 tokens is below 32, two cold pages"},
		{"auto", Options{Budget: 31}, "a budget of 31 tokens is below 32, two cold pages"},
		{"auto", Options{Budget: 100_000_000}, "a budget of 100000000 tokens is above 16777216, which no context has"},
		{"tailorkv", Options{Budget: 100_000_000}, "a budget of 100000000 tokens is above 16777216"},
		{"auto", Options{Budget: 500}, "a budget of 500 tokens is not a multiple of 32: 480 and 512 are"},
		{"auto", Options{Exchange: 8}, "an exchange of 8 tokens a step is not whole cold pages of 16"},
		{"auto", Options{Exchange: -16}, "an exchange of -16 tokens a step"},
		{"auto", Options{Dense: []int{3}}, "dense layer 3 does not exist, the model has layers 0 to 2"},
		{"auto", Options{Dense: []int{-1}}, "dense layer -1 does not exist"},
		{"auto", Options{Dense: []int{2}}, "layer 2 cannot be dense: it keeps only its window of 128 tokens"},
		{"tailorkv", Options{Budget: 64}, "a budget of 64 tokens leaves none to choose beside 8 sink and 56 recent tokens"},
		{"tailorkv", Options{Sink: -1}, "-1 sink"},
		{"tailorkv", Options{Channels: 65}, "65 channels, layer 0 has 1 to 64"},
	} {
		_, err := MakePlan(Ask{Layers: layers, Policy: c.policy, Options: c.o, Context: 1000})
		if !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %+v: %v, want %s", c.policy, c.o, err, c.want)
		}
	}
}

func TestBadSizesAreRefused(t *testing.T) {
	one := alike(1, LayerSpec{KVHeads: 1, HeadDim: 64})
	for _, a := range []Ask{
		{Layers: one}, {Layers: one, Context: -5}, {Context: 32}, {Layers: one, Context: 64, Tokens: 63}, {Layers: one, Context: 1 << 40},
		{Layers: one, Context: 1 << 30, Sessions: 1 << 40}, {Layers: one, Context: 64, Sessions: -1}, {Layers: one, Context: 64, Fast: -1},
		{Layers: []LayerSpec{{}}, Context: 64},
	} {
		a.Policy = "auto"
		if p, err := MakePlan(a); !errors.Is(err, ErrPlan) {
			t.Errorf("%+v: %+v, %v", a, p, err)
		}
	}
	if got, want := (&ContextError{Context: 200, Model: 100}).Error(), "context of 200 tokens > 100 tokens, the model's own"; got != want {
		t.Error(got)
	}
}

// TestLayersOfEveryPolicy plans a windowed and a whole layer.
func TestLayersOfEveryPolicy(t *testing.T) {
	window, whole := LayerSpec{KVHeads: 1, HeadDim: 16, Window: 500}, LayerSpec{KVHeads: 2, HeadDim: 64}
	kept := LayerPlan{LayerSpec: window, Class: Window, Elem: F16, Tail: 800}
	kept32 := kept
	kept32.Elem = F32
	exactWindow := LayerPlan{LayerSpec: window, Elem: F32}
	for _, c := range []struct {
		policy string
		o      Options
		window LayerPlan
		whole  LayerPlan
		notes  int
	}{
		{"full", Options{}, kept, LayerPlan{LayerSpec: whole}, 0},
		{"full", Options{Elem: "f32"}, kept32, LayerPlan{LayerSpec: whole, Elem: F32}, 0},
		{"full", Options{Elem: "f32", Exact: true}, exactWindow, LayerPlan{LayerSpec: whole, Elem: F32}, 0},
		{"q8", Options{}, kept, LayerPlan{LayerSpec: whole, Class: Dense, Elem: Q8, Group: 32, Tail: 64}, 0},
		{"q4", Options{}, kept, LayerPlan{LayerSpec: whole, Class: Dense, Elem: Q4, Group: 32, Tail: 64}, 0},
		{"auto", Options{}, kept, LayerPlan{LayerSpec: whole}, 0},
		{"auto", Options{Sparse: true}, kept, LayerPlan{LayerSpec: whole, Class: Paged, Elem: Q8, Group: 16, Tail: 64, Budget: 64, Exchange: 40, Gain: 1.5, ByRecord: true}, 0},
		{"auto+q4", Options{Sparse: true, Budget: 32, Exchange: 48}, kept, LayerPlan{LayerSpec: whole, Class: Paged, Elem: Q4, Group: 16, Tail: 64, Budget: 2, Exchange: 3, Gain: 1.5, ByRecord: true}, 0},
		{"auto", Options{Sparse: true, Budget: 1 << 20, Dense: []int{}}, kept, LayerPlan{LayerSpec: whole, Class: Paged, Elem: Q8, Group: 16, Tail: 64, Budget: 64, Exchange: 40, Gain: 1.5, ByRecord: true}, 1},
		{"auto", Options{Sparse: true, Dense: []int{1}, DenseElem: "q4"}, kept, LayerPlan{LayerSpec: whole, Class: Dense, Elem: Q4, Group: 32, Tail: 64}, 0},
		{"tailorkv", Options{}, kept, LayerPlan{LayerSpec: whole, Class: Gathered, Group: 64, Tail: 160, Budget: 960, Channels: 12, Sink: 64}, 0},
		{"tailorkv", Options{Budget: 192, Dense: []int{}}, kept, LayerPlan{LayerSpec: whole, Class: Gathered, Group: 64, Tail: 160, Budget: 136, Channels: 8, Sink: 8}, 0},
		{"tailorkv", Options{Budget: 1 << 20, Channels: 64, Sink: 32, Dense: []int{}}, kept, LayerPlan{LayerSpec: whole, Class: Gathered, Group: 64, Tail: 160, Budget: 1000, Channels: 64, Sink: 32}, 1},
		{"tailorkv", Options{Dense: []int{1}, DenseElem: "q1"}, kept, LayerPlan{LayerSpec: whole, Class: Dense, Elem: Q1, Group: 64, Tail: 160}, 0},
	} {
		p, err := MakePlan(Ask{Layers: []LayerSpec{window, whole}, Policy: c.policy, Options: c.o, Context: 1000})
		if err != nil {
			t.Errorf("%s %+v: %v", c.policy, c.o, err)
			continue
		}
		if diff := cmp.Diff([]LayerPlan{c.window, c.whole}, p.Config.Layers); diff != "" || len(p.Notes) != c.notes {
			t.Errorf("%s %+v: notes %q\n%s", c.policy, c.o, p.Notes, diff)
		}
	}
}
