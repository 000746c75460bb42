package ipc

import (
	"math"
	"time"
	"unicode/utf8"

	"edged/ipc/api"
)

// format shapes an answer for one of the completion endpoints. Its methods
// return values to be encoded as JSON, nil for nothing to send. A format
// belongs to one request; only first and delta may run at the same time.
type format interface {
	first() any            // before everything else
	delta(Delta) any       // text
	progress(Progress) any // prefill, when the client asked for it
	finish(Result) any     // after the last text
	usage(Result) any      // when the client asked for it
	whole(text string, logprobs []TokenLogprob, res Result) any
}

// head is what all chunks of an answer share.
type head struct {
	id      string
	model   string
	created int64 // Unix seconds
}

func usageOf(r Result) api.Usage {
	return api.Usage{
		PromptTokens: r.PromptTokens, CompletionTokens: r.CompletionTokens,
		TotalTokens:         r.PromptTokens + r.CompletionTokens,
		PromptTokensDetails: api.PromptTokensDetails{CachedTokens: r.CachedTokens},
	}
}

func timingsOf(r Result) api.Timings {
	prompt := r.PromptTokens - r.CachedTokens
	t := api.Timings{
		CacheN: r.CachedTokens, PromptN: prompt, PromptMS: milliseconds(r.PromptTime), PromptPerSecond: rate(prompt, r.PromptTime),
		PredictedN: r.CompletionTokens, PredictedMS: milliseconds(r.PredictTime), PredictedPerSecond: rate(r.CompletionTokens, r.PredictTime),
	}
	if r.RestoredTokens > 0 { // the time of finding nothing is of no interest
		t.RestoredN, t.RestoreMS = r.RestoredTokens, milliseconds(r.RestoreTime)
	}
	return t
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// rate returns n per second, to three decimals.
func rate(n int, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return math.Round(float64(n)/d.Seconds()*1000) / 1000
}

// minLogprob stands for minus infinity, which JSON cannot express. OpenAI uses
// the same number.
const minLogprob = -9999.0

func finite(logprob float64) float64 {
	if math.IsInf(logprob, -1) {
		return minLogprob
	}
	return logprob
}

// byteValues writes a piece as JSON numbers; []byte would become base64.
func byteValues(piece []byte) []int {
	values := make([]int, len(piece))
	for i, b := range piece {
		values[i] = int(b)
	}
	return values
}

// validText returns a piece as text, with U+FFFD for each byte of a partial code point.
func validText(piece []byte) string {
	if utf8.Valid(piece) {
		return string(piece)
	}
	var text []rune
	for len(piece) > 0 {
		r, n := utf8.DecodeRune(piece)
		text = append(text, r)
		piece = piece[n:]
	}
	return string(text)
}
