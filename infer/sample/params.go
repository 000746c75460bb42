package sample

import (
	"fmt"
	"maps"
	"math"
	"slices"
)

// Limits that Params.Validate enforces.
const (
	MaxTemperature   = 100
	MaxTopLogprobs   = 20
	MaxPenalty       = 2       // magnitude of the presence and frequency penalties, as in OpenAI's API
	MaxRepeatPenalty = 100     // factor
	MaxPenaltyLastN  = 1 << 20 // tokens
	MaxLogitBias     = 100     // magnitude, in logits, as in OpenAI's API

	// DefaultPenaltyLastN is the window, in tokens, that PenaltyLastN = 0 stands for.
	DefaultPenaltyLastN = 64
)

// Params selects the filters of a Sampler. The zero value is valid: greedy
// decoding with every filter off.
type Params struct {
	// Temperature divides the logits that survive the filters, [0, 100].
	// 0 is greedy decoding: the highest adjusted logit wins and the
	// filters below cannot change the outcome.
	Temperature float32

	// TopK keeps the k most probable tokens. 0 is off.
	TopK int
	// Typical keeps the tokens whose surprise is closest to the entropy of
	// the distribution, until their mass reaches Typical, (0, 1]. 0 and 1 are off.
	Typical float32
	// TopP keeps the fewest most probable tokens whose mass reaches TopP,
	// (0, 1]. 0 and 1 are off. A caller that offers OpenAI's top_p, where an
	// explicit 0 asks for the most probable token, sets TopK to 1 for it.
	TopP float32
	// MinP keeps the tokens at least MinP times as probable as the most
	// probable one, [0, 1]. 0 is off.
	MinP float32

	// RepeatPenalty divides positive and multiplies negative logits of every
	// token among the last PenaltyLastN ones of prompt and completion
	// together, (0, 100]. 0 and 1 are off.
	RepeatPenalty float32
	// PenaltyLastN is the window of RepeatPenalty in tokens. 0 stands for
	// DefaultPenaltyLastN, -1 for the whole history.
	PenaltyLastN int

	// PresencePenalty is subtracted once, and FrequencyPenalty once per
	// occurrence, from the logit of each token that was generated so far,
	// [-2, 2]. As in OpenAI's API, prompt tokens do not count, and the whole
	// completion does.
	PresencePenalty, FrequencyPenalty float32

	// LogitBias is added to logits by token id, [-100, 100]. -100 bans a
	// token outright; only when that leaves no token at all do the bans act
	// as a plain subtraction of 100. New copies the map.
	LogitBias map[int32]float32

	// Seed makes draws reproducible; nil draws a seed, which
	// Sampler.Seed reports.
	Seed *uint64

	// Logprobs asks for Choice.Logprob, which costs one exponential per
	// vocabulary entry.
	Logprobs bool
	// TopLogprobs is the number of alternatives that the caller will ask
	// TopLogprobs for, [0, 20]. It stands here to be validated with the rest.
	TopLogprobs int
}

// topK is TopK for a vocabulary, 0 where it keeps all tokens.
func (p *Params) topK(vocab int) int {
	if p.TopK >= vocab {
		return 0
	}
	return p.TopK
}

func (p *Params) hasTypical() bool { return p.Typical > 0 && p.Typical < 1 }

func (p *Params) hasTopP() bool { return p.TopP > 0 && p.TopP < 1 }

// Validate reports the first parameter that is out of range for a vocabulary
// of vocab tokens. NaN and infinities are out of every range.
func (p Params) Validate(vocab int) error {
	if vocab < 1 || vocab > math.MaxInt32 {
		return fmt.Errorf("vocabulary must have between 1 and %d tokens, got %d", math.MaxInt32, vocab)
	}
	for _, f := range []struct {
		name      string
		value     float32
		low, high float32
	}{
		{name: "temperature", value: p.Temperature, high: MaxTemperature},
		{name: "typical", value: p.Typical, high: 1},
		{name: "top_p", value: p.TopP, high: 1},
		{name: "min_p", value: p.MinP, high: 1},
		{name: "repeat_penalty", value: p.RepeatPenalty, high: MaxRepeatPenalty},
		{name: "presence_penalty", value: p.PresencePenalty, low: -MaxPenalty, high: MaxPenalty},
		{name: "frequency_penalty", value: p.FrequencyPenalty, low: -MaxPenalty, high: MaxPenalty},
	} {
		if !(f.value >= f.low && f.value <= f.high) { // also catches NaN
			return fmt.Errorf("%s must be between %g and %g, got %g", f.name, f.low, f.high, f.value)
		}
	}
	if p.TopK < 0 {
		return fmt.Errorf("top_k must be at least 0, got %d", p.TopK)
	}
	if p.PenaltyLastN < -1 || p.PenaltyLastN > MaxPenaltyLastN {
		return fmt.Errorf("penalty_last_n must be between -1 and %d, got %d", MaxPenaltyLastN, p.PenaltyLastN)
	}
	if p.TopLogprobs < 0 || p.TopLogprobs > MaxTopLogprobs {
		return fmt.Errorf("top_logprobs must be between 0 and %d, got %d", MaxTopLogprobs, p.TopLogprobs)
	}
	// Sorted, so that the same request always gets the same error.
	for _, id := range slices.Sorted(maps.Keys(p.LogitBias)) {
		if id < 0 || int(id) >= vocab {
			return fmt.Errorf("logit_bias token id must be between 0 and %d, got %d", vocab-1, id)
		}
		if b := p.LogitBias[id]; !(b >= -MaxLogitBias && b <= MaxLogitBias) {
			return fmt.Errorf("logit_bias of token %d must be between %d and %d, got %g", id, -MaxLogitBias, MaxLogitBias, b)
		}
	}
	return nil
}
