package ipc

import (
	"math"
	"time"
	"unicode/utf8"

	"edged/ipc/api"
)

// format shapes an answer for one of the endpoints that generate. Its methods
// return the events of a stream, none for nothing to send. A format belongs to
// one request; its methods are called one at a time, in the order of the stream.
type format interface {
	first() []event                           // before everything else
	delta(choice int, d Delta) []event        // text, calls of tools
	progress(Progress) []event                // prefill
	finish(choice int, res Result) []event    // after the last delta of a choice
	last(total Result) []event                // after all choices
	alive() []byte                            // when there has been nothing to send for long
	failed(failure) []event                   // instead of last
	whole(answers []answer, total Result) any // instead of a stream
}

// answer is one choice of an answer that is sent as a whole.
type answer struct {
	thought  []byte
	text     []byte
	logprobs []TokenLogprob
	calls    []ToolCall
	res      Result
}

// event is one server-sent event.
type event struct {
	name string // "" = data alone
	data any
}

// data is an event without a name, as OpenAI's completions have them.
func data(v any) []event { return []event{{data: v}} }

// doneEvent is the data of the last event of OpenAI's completions.
type doneEvent struct{}

// encodeEvents writes events as they are sent.
func encodeEvents(events []event) ([]byte, error) {
	var out []byte
	for _, e := range events {
		if e.name != "" {
			out = append(append(append(out, "event: "...), e.name...), '\n')
		}
		p := []byte("[DONE]")
		if _, done := e.data.(doneEvent); !done {
			var err error
			if p, err = marshal(e.data); err != nil {
				return nil, err
			}
		}
		out = append(append(append(out, "data: "...), p...), "\n\n"...)
	}
	return out, nil
}

// completions is what the formats of OpenAI's completion endpoints share.
type completions struct {
	head
	includeUsage    bool
	includeProgress bool
}

// progressIn sends a chunk with the progress, where it is wanted.
func (f completions) progressIn(chunk any) []event {
	if !f.includeProgress {
		return nil
	}
	return data(chunk)
}

// lastIn sends a chunk with the usage, where it is wanted, and the end.
func (f completions) lastIn(chunk any) []event {
	done := event{data: doneEvent{}}
	if !f.includeUsage {
		return []event{done}
	}
	return []event{{data: chunk}, done}
}

// alive is a comment, but not ": ping", at which one widespread client stops
// reading; it carries neither id nor retry, which make another fail.
func (completions) alive() []byte { return []byte(": keepalive\n\n") }

// failed is not followed by [DONE]: the answer is not complete.
func (completions) failed(f failure) []event { return data(f.body()) }

// head is what all chunks of an answer share.
type head struct {
	id      string
	model   string
	created int64 // Unix seconds
}

func usageOf(r Result) *api.Usage {
	u := &api.Usage{
		PromptTokens: r.PromptTokens, CompletionTokens: r.CompletionTokens,
		TotalTokens:         r.PromptTokens + r.CompletionTokens,
		PromptTokensDetails: api.PromptTokensDetails{CachedTokens: r.CachedTokens},
	}
	if r.ThoughtTokens > 0 {
		u.CompletionTokensDetails = &api.OutputTokensDetails{ReasoningTokens: r.ThoughtTokens}
	}
	return u
}

func timingsOf(r Result) *api.Timings {
	prompt := r.PromptTokens - r.CachedTokens
	t := &api.Timings{
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
