package sample

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// survivors returns the tokens that s may draw after logits, by id, with their
// probabilities at its temperature. It mirrors Sample up to the draw.
func survivors(s *Sampler, logits []float32) (ids []int32, probs []float64) {
	row, best := s.prepare(logits, nil)
	if best == NoToken {
		return nil, nil
	}
	s.pool.reset(row, row[best])
	s.pool.filter(&s.p)
	s.pool.collect(math.Inf(-1))
	list := slices.Clone(s.pool.list)
	slices.SortFunc(list, func(a, b candidate) int { return int(a.id() - b.id()) })
	top, sum := s.pool.listMax(), 0.0
	for _, c := range list {
		e := math.Exp((float64(row[c.id()]) - top) / float64(s.p.Temperature))
		ids, probs, sum = append(ids, c.id()), append(probs, e), sum+e
	}
	for i := range probs {
		probs[i] /= sum
	}
	return ids, probs
}

type goldenFile struct {
	Rows        map[string][]*float32   `json:"rows"` // null is minus infinity
	TopLogprobs map[string][][2]float64 `json:"top_logprobs"`
	Cases       []goldenCase            `json:"cases"`
}

type goldenCase struct {
	Row    string `json:"row"`
	Params struct {
		Temperature      float32           `json:"temperature"`
		TopK             int               `json:"top_k"`
		Typical          float32           `json:"typical"`
		TopP             float32           `json:"top_p"`
		MinP             float32           `json:"min_p"`
		RepeatPenalty    float32           `json:"repeat_penalty"`
		PenaltyLastN     int               `json:"penalty_last_n"`
		PresencePenalty  float32           `json:"presence_penalty"`
		FrequencyPenalty float32           `json:"frequency_penalty"`
		LogitBias        map[int32]float32 `json:"logit_bias"`
		Prompt           []int32           `json:"prompt"`
		Generated        []int32           `json:"generated"`
	} `json:"params"`
	Survivors [][2]float64 `json:"survivors"` // id, probability
	// For large sets:
	Count int          `json:"count"`
	IDSum int          `json:"id_sum"`
	Head  [][2]float64 `json:"head"`
}

func readGoldens(t *testing.T) (rows map[string][]float32, g goldenFile) {
	t.Helper()
	data, err := os.ReadFile("testdata/golden/filters.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	rows = make(map[string][]float32)
	for name, values := range g.Rows {
		for _, v := range values {
			l := float32(math.Inf(-1))
			if v != nil {
				l = *v
			}
			rows[name] = append(rows[name], l)
		}
	}
	return rows, g
}

func (c *goldenCase) sampler(t *testing.T, vocab int) *Sampler {
	t.Helper()
	p := c.Params
	s, err := New(Params{
		Temperature: p.Temperature, TopK: p.TopK, Typical: p.Typical, TopP: p.TopP, MinP: p.MinP,
		RepeatPenalty: p.RepeatPenalty, PenaltyLastN: p.PenaltyLastN,
		PresencePenalty: p.PresencePenalty, FrequencyPenalty: p.FrequencyPenalty, LogitBias: p.LogitBias,
	}, vocab)
	if err != nil {
		t.Fatal(err)
	}
	s.AcceptPrompt(p.Prompt)
	for _, id := range p.Generated {
		s.Accept(id)
	}
	return s
}

func TestFiltersMatchGoldens(t *testing.T) {
	rows, g := readGoldens(t)
	if len(g.Cases) < 100 {
		t.Fatalf("only %d golden cases", len(g.Cases))
	}
	for i, c := range g.Cases {
		ids, probs := survivors(c.sampler(t, len(rows[c.Row])), rows[c.Row])
		want, count, idSum := c.Survivors, c.Count, c.IDSum
		if want == nil {
			want = c.Head
		} else {
			count = len(want)
			for _, w := range want {
				idSum += int(w[0])
			}
		}
		gotSum := 0
		for _, id := range ids {
			gotSum += int(id)
		}
		if len(ids) != count || gotSum != idSum {
			t.Errorf("case %d, row %s, %+v: %d survivors with id sum %d, want %d and %d", i, c.Row, c.Params, len(ids), gotSum, count, idSum)
			continue
		}
		for j, w := range want {
			if int(ids[j]) != int(w[0]) || math.Abs(probs[j]-w[1]) > 2e-6 {
				t.Errorf("case %d, row %s, %+v: survivor %d is token %d with %.9g, want %v", i, c.Row, c.Params, j, ids[j], probs[j], w)
				break
			}
		}
	}
}

func TestTopLogprobsMatchGoldens(t *testing.T) {
	rows, g := readGoldens(t)
	for name, row := range rows {
		for _, n := range []int{0, 1, 5, MaxTopLogprobs} {
			prefix := []TokenProb{{ID: 99, Logprob: -9}}
			want := slices.Clone(prefix)
			for _, w := range g.TopLogprobs[name][:min(n, len(g.TopLogprobs[name]))] {
				want = append(want, TokenProb{ID: int32(w[0]), Logprob: float32(w[1])})
			}
			got := TopLogprobs(prefix, row, n)
			close := cmp.Comparer(func(a, b float32) bool { return math.Abs(float64(a-b)) < 2e-6 })
			if diff := cmp.Diff(want, got, close); diff != "" {
				t.Errorf("row %s, n %d (-want +got):\n%s", name, n, diff)
			}
			for _, tp := range got[1:] {
				if lp := Logprob(row, tp.ID); lp != tp.Logprob {
					t.Errorf("row %s: Logprob(%d) = %v, TopLogprobs says %v", name, tp.ID, lp, tp.Logprob)
				}
			}
		}
	}
}
