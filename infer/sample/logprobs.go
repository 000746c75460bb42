package sample

import (
	"math"
	"slices"
)

// TokenProb is a token and the natural logarithm of its probability.
type TokenProb struct {
	ID      int32
	Logprob float32
}

// TopLogprobs appends to dst the n most probable tokens under logits,
// [vocab]float32, most probable first and ties by id, with their log-softmax
// over the whole row. Fewer than n are appended when the row has fewer tokens
// above minus infinity. It is meant for n <= MaxTopLogprobs: the time grows
// with n. It allocates only when dst must grow.
func TopLogprobs(dst []TokenProb, logits []float32, n int) []TokenProb {
	best := argmax(logits)
	if best == NoToken || n <= 0 {
		return dst
	}
	start := len(dst)
	for id, l := range logits {
		full := len(dst)-start == n
		if !(l > float32(math.Inf(-1))) || full && l <= dst[len(dst)-1].Logprob {
			continue
		}
		if !full {
			dst = append(dst, TokenProb{})
		}
		// Insertion by raw logit; later ids go behind equal ones.
		i := len(dst) - 1
		for ; i > start && dst[i-1].Logprob < l; i-- {
			dst[i] = dst[i-1]
		}
		dst[i] = TokenProb{ID: int32(id), Logprob: l}
	}
	top := finiteMax(logits[best])
	lnSum := ln(sumExp(logits, top, 1))
	for i := start; i < len(dst); i++ {
		dst[i].Logprob = logSoftmax(dst[i].Logprob, top, lnSum)
	}
	return dst
}

// Logprob returns the log-softmax of token id over logits, [vocab]float32:
// minus infinity for a masked token, NaN when id is outside the row or no
// token is above minus infinity.
func Logprob(logits []float32, id int32) float32 {
	best := argmax(logits)
	if best == NoToken || id < 0 || int(id) >= len(logits) {
		return float32(math.NaN())
	}
	top := finiteMax(logits[best])
	return logSoftmax(logits[id], top, ln(sumExp(logits, top, 1)))
}

// logSoftmax is l - top - lnSum, where top is the largest logit and lnSum the
// logarithm of the sum of exponentials relative to it.
func logSoftmax(l float32, top, lnSum float64) float32 {
	switch d := float64(l) - top; {
	case d >= 0:
		return float32(-lnSum)
	case math.IsNaN(d):
		return float32(math.Inf(-1))
	default:
		return float32(d - lnSum)
	}
}

// finiteMax makes a row's maximum safe to subtract: infinite logits then
// differ from it by +Inf, which expNeg takes as 0, instead of by NaN.
func finiteMax(l float32) float64 { return min(float64(l), math.MaxFloat32) }

// sumExp returns the sum of e^(scale * (l - top)) over row, where top is its
// maximum made finite and scale is at least 0.
func sumExp(row []float32, top, scale float64) float64 {
	sum := 0.0
	for block := range slices.Chunk(row, SumBlock) {
		sum += sumBlock(block, top, scale)
	}
	return sum
}

// sumBlock is sumExp for at most SumBlock logits.
func sumBlock(row []float32, top, scale float64) float64 {
	sum := 0.0
	for _, l := range row {
		// Also skips NaN. The sum is sequential, so its order is fixed.
		if x := float64((float64(l) - top) * scale); x >= expFloor {
			sum += expNegNormal(min(x, 0))
		}
	}
	return sum
}
