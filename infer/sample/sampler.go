package sample

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
)

// NoToken is the ID of a Choice when no token could be chosen: every logit is
// NaN or minus infinity, or the row does not have vocab entries.
const NoToken int32 = -1

// Choice is one sampled token.
type Choice struct {
	ID int32
	// Logprob is the natural logarithm of the token's probability under the
	// unmodified logits: before penalties, bias, filters and temperature.
	// NaN unless Params.Logprobs is set.
	Logprob float32
}

// Sampler chooses the tokens of one sequence. See the package documentation
// for ownership and determinism.
type Sampler struct {
	p      Params
	vocab  int // tokens
	seed   uint64
	rng    *rand.ChaCha8
	adjust *adjuster // nil when logits are used as they are
	masked []float32 // [vocab] scratch of SampleAllowed
	sparse []float32 // [vocab] scratch of Choose, of which only the tokens of its list count
	ask    Ask
	pool   pool

	u     float64 // the quantile to draw next, where drawn
	drawn bool
}

// New checks p against a vocabulary of vocab tokens and returns a Sampler with
// an empty history.
func New(p Params, vocab int) (*Sampler, error) {
	if err := p.Validate(vocab); err != nil {
		return nil, fmt.Errorf("check sampling parameters: %w", err)
	}
	s := &Sampler{p: p, vocab: vocab, adjust: newAdjuster(p, vocab)}
	if p.Seed != nil {
		s.seed = *p.Seed
	} else {
		s.seed = rand.Uint64()
	}
	s.p.Seed, s.p.LogitBias = nil, nil // the caller owns both
	s.rng = rand.NewChaCha8(chachaKey(s.seed))
	return s, nil
}

// chachaKey spreads a 64-bit seed over a ChaCha8 key. The constant separates
// these streams from other uses of the same seed; changing it changes every
// seeded completion.
func chachaKey(seed uint64) (key [32]byte) {
	copy(key[8:], "edged sample stream 1")
	binary.LittleEndian.PutUint64(key[:8], seed)
	return key
}

// Seed returns the seed in use: the one in Params, or the one drawn by New.
func (s *Sampler) Seed() uint64 { return s.seed }

// AcceptPrompt appends prompt tokens to the history. They count for
// RepeatPenalty, not for the presence and frequency penalties. An id outside
// the vocabulary takes its place in the window, but has no logit to penalise.
func (s *Sampler) AcceptPrompt(ids []int32) {
	if s.adjust == nil {
		return
	}
	for _, id := range ids {
		s.adjust.accept(id, false)
	}
}

// Accept appends one generated token to the history. It counts for all
// penalties. Sample does not do this by itself: the caller may still reject
// or replace the choice.
func (s *Sampler) Accept(id int32) {
	if s.adjust != nil {
		s.adjust.accept(id, true)
	}
}

// Sample chooses a token from logits, [vocab]float32, which it does not modify
// or keep. The ID is NoToken when there is nothing to choose from.
func (s *Sampler) Sample(logits []float32) Choice { return s.SampleAllowed(logits, nil) }

// SampleAllowed is Sample among the tokens of a set: bit id%64 of word id/64
// says whether a token is in it. nil stands for all tokens. Choice.Logprob is
// that of the unmodified logits here too. A LogitBias that bans every token of
// the set bans none.
func (s *Sampler) SampleAllowed(logits []float32, allowed []uint64) Choice {
	choice := Choice{ID: NoToken, Logprob: float32(math.NaN())}
	if len(logits) != s.vocab || allowed != nil && len(allowed) != maskWords(s.vocab) {
		return choice
	}
	row, best := s.prepare(logits, allowed)
	if best == NoToken {
		return choice
	}
	choice.ID = best
	if s.p.Temperature > 0 {
		s.pool.reset(row, row[best])
		s.pool.filter(&s.p)
		choice.ID = s.pool.draw(s.p.Temperature, s.quantile())
		s.drawn = false
		s.pool.row = nil // it may be the caller's
	}
	if s.p.Logprobs {
		choice.Logprob = Logprob(logits, choice.ID)
	}
	return choice
}

// prepare returns the adjusted row and the token of its largest logit.
func (s *Sampler) prepare(logits []float32, allowed []uint64) (row []float32, best int32) {
	if allowed != nil {
		logits = s.mask(logits, allowed)
	}
	if s.adjust == nil {
		return logits, argmax(logits)
	}
	row = s.adjust.apply(logits, true)
	if best = argmax(row); best == NoToken {
		// The bans left nothing; see Params.LogitBias.
		row = s.adjust.apply(logits, false)
		best = argmax(row)
	}
	return row, best
}

// mask returns a copy of the row in which only allowed tokens are above minus
// infinity. No adjustment lifts a token from there.
func (s *Sampler) mask(logits []float32, allowed []uint64) []float32 {
	if s.masked == nil {
		s.masked = make([]float32, s.vocab)
	}
	mask(s.masked, logits, allowed)
	return s.masked
}

// maskWords is the words of a set of tokens.
func maskWords(vocab int) int { return (vocab + 63) / 64 }

func mask(dst, logits []float32, allowed []uint64) {
	banned := float32(math.Inf(-1))
	for w, word := range allowed {
		first := w * 64
		in, out := logits[first:min(first+64, len(dst))], dst[first:min(first+64, len(dst))]
		switch word {
		case 0:
			for i := range out {
				out[i] = banned
			}
		case math.MaxUint64:
			copy(out, in)
		default:
			for i, l := range in {
				if word>>i&1 == 0 {
					l = banned
				}
				out[i] = l
			}
		}
	}
}

// quantile is the number that the next draw will use: the one that Ask has given
// away, if that draw is still to come.
func (s *Sampler) quantile() float64 {
	if !s.drawn {
		s.u, s.drawn = s.uniform(), true
	}
	return s.u
}

// uniform returns a number in [0, 1) with 53 random bits. It does not use
// rand.Rand, whose conversions may change between Go releases.
func (s *Sampler) uniform() float64 {
	return float64(s.rng.Uint64()>>11) * (1.0 / (1 << 53))
}

// argmax returns the lowest index of the largest element of row, or NoToken
// when no element is above minus infinity. NaN never wins.
func argmax(row []float32) int32 {
	best, at := float32(math.Inf(-1)), NoToken
	i := 0
	// One well-predicted branch for eight elements: a new maximum is rare.
	for ; i+8 <= len(row); i += 8 {
		b := row[i : i+8 : i+8]
		if b[0] > best || b[1] > best || b[2] > best || b[3] > best ||
			b[4] > best || b[5] > best || b[6] > best || b[7] > best {
			for j, v := range b {
				if v > best {
					best, at = v, int32(i+j)
				}
			}
		}
	}
	for ; i < len(row); i++ {
		if row[i] > best {
			best, at = row[i], int32(i)
		}
	}
	return at
}
