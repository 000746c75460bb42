package sample

import (
	"math"
	"testing"
)

func TestValidate(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, tc := range []struct {
		p    Params
		want string // "" is valid
	}{
		{Params{}, ""},
		{Params{Temperature: 100, TopK: math.MaxInt, TopP: 1, MinP: 1, Typical: 1, RepeatPenalty: 100, PenaltyLastN: 1 << 20, PresencePenalty: 2, FrequencyPenalty: -2, LogitBias: map[int32]float32{0: -100, 9: 100}, TopLogprobs: 20}, ""},
		{Params{PenaltyLastN: -1}, ""},
		{Params{Temperature: -0.5}, "temperature must be between 0 and 100, got -0.5"},
		{Params{Temperature: nan}, "temperature must be between 0 and 100, got NaN"},
		{Params{Temperature: inf}, "temperature must be between 0 and 100, got +Inf"},
		{Params{TopP: 1.5}, "top_p must be between 0 and 1, got 1.5"},
		{Params{MinP: nan}, "min_p must be between 0 and 1, got NaN"},
		{Params{Typical: -1}, "typical must be between 0 and 1, got -1"},
		{Params{RepeatPenalty: -1}, "repeat_penalty must be between 0 and 100, got -1"},
		{Params{PresencePenalty: 2.5}, "presence_penalty must be between -2 and 2, got 2.5"},
		{Params{FrequencyPenalty: -inf}, "frequency_penalty must be between -2 and 2, got -Inf"},
		{Params{TopK: -1}, "top_k must be at least 0, got -1"},
		{Params{PenaltyLastN: -2}, "penalty_last_n must be between -1 and 1048576, got -2"},
		{Params{TopLogprobs: 21}, "top_logprobs must be between 0 and 20, got 21"},
		{Params{LogitBias: map[int32]float32{10: 1, 11: 1}}, "logit_bias token id must be between 0 and 9, got 10"},
		{Params{LogitBias: map[int32]float32{-1: 1}}, "logit_bias token id must be between 0 and 9, got -1"},
		{Params{LogitBias: map[int32]float32{3: 101}}, "logit_bias of token 3 must be between -100 and 100, got 101"},
		{Params{LogitBias: map[int32]float32{3: nan}}, "logit_bias of token 3 must be between -100 and 100, got NaN"},
	} {
		got := ""
		if err := tc.p.Validate(10); err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("Validate(%+v) = %q, want %q", tc.p, got, tc.want)
		}
		if _, err := New(tc.p, 10); (err == nil) != (tc.want == "") {
			t.Errorf("New(%+v) = %v, want as Validate", tc.p, err)
		}
	}
	if err := (Params{}).Validate(0); err == nil {
		t.Error("an empty vocabulary was accepted")
	}
}
