package ipc

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"edged/ipc/api"
)

// completionFormat shapes answers of /v1/completions.
type completionFormat struct {
	completions
	logprobs     bool
	alternatives bool   // report top_logprobs
	echo         string // the prompt, repeated before the answer; "" = not asked for
	offsets      []int  // [choices] code points sent, for text_offset
}

func (f *completionFormat) chunk() *api.Completion {
	return &api.Completion{ID: f.id, Object: "text_completion", Created: f.created, Model: f.model, Choices: []api.CompletionChoice{}}
}

func (f *completionFormat) choice(i int, text string) *api.Completion {
	c := f.chunk()
	c.Choices = append(c.Choices, api.CompletionChoice{Index: i, Text: text})
	return c
}

func (f *completionFormat) first() []event {
	if f.echo == "" {
		return nil
	}
	var all []event
	for i := range f.offsets {
		all = append(all, event{data: f.choice(i, f.echo)})
	}
	return all
}

func (f *completionFormat) delta(i int, d Delta) []event {
	if d.Text == "" && len(d.Logprobs) == 0 {
		return nil
	}
	c := f.choice(i, d.Text)
	c.Choices[0].Logprobs = f.completionLogprobs(i, d.Logprobs)
	return data(c)
}

func (f *completionFormat) progress(p Progress) []event {
	c := f.chunk()
	c.Progress = (*api.Progress)(&p)
	return f.progressIn(c)
}

func (f *completionFormat) finish(i int, r Result) []event {
	c := f.choice(i, "")
	c.Choices[0].FinishReason = (*string)(&r.FinishReason)
	return data(c)
}

func (f *completionFormat) last(r Result) []event {
	c := f.chunk()
	c.Usage, c.Timings = usageOf(r), timingsOf(r)
	return f.lastIn(c)
}

func (f *completionFormat) whole(answers []answer, total Result) any {
	c := f.chunk()
	for i, a := range answers {
		c.Choices = append(c.Choices, api.CompletionChoice{
			Index: i, Text: f.echo + string(a.text), Logprobs: f.completionLogprobs(i, a.logprobs),
			FinishReason: (*string)(&a.res.FinishReason),
		})
	}
	c.Usage, c.Timings = usageOf(total), timingsOf(total)
	return c
}

// completionLogprobs returns nil when the request did not ask for log
// probabilities, and advances the choice's offset otherwise.
func (f *completionFormat) completionLogprobs(choice int, tokens []TokenLogprob) *api.CompletionLogprobs {
	if !f.logprobs {
		return nil
	}
	list := &api.CompletionLogprobs{Tokens: []string{}, TokenLogprobs: []float64{}, TextOffset: []int{}}
	for _, t := range tokens {
		list.Tokens = append(list.Tokens, tokenName(t.Bytes))
		list.TokenLogprobs = append(list.TokenLogprobs, finite(t.Logprob))
		list.TextOffset = append(list.TextOffset, f.offsets[choice])
		f.offsets[choice] += codePoints(t.Bytes)
		if f.alternatives {
			top := make(map[string]float64, len(t.Top))
			for _, alt := range t.Top {
				name := tokenName(alt.Bytes)
				if _, taken := top[name]; !taken { // two ids of one text: the likelier stays
					top[name] = finite(alt.Logprob)
				}
			}
			list.TopLogprobs = append(list.TopLogprobs, top)
		}
	}
	return list
}

// codePoints counts the code points that begin in a piece, so that the offsets
// stay right when a code point is spread over several tokens.
func codePoints(piece []byte) int {
	n := 0
	for _, b := range piece {
		if utf8.RuneStart(b) {
			n++
		}
	}
	return n
}

// tokenName keeps pieces apart that are parts of code points, as OpenAI does.
func tokenName(piece []byte) string {
	if utf8.Valid(piece) {
		return string(piece)
	}
	var name strings.Builder
	name.WriteString("bytes:")
	for _, b := range piece {
		fmt.Fprintf(&name, `\x%02x`, b)
	}
	return name.String()
}
