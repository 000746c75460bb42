package ipc

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
)

// Limits of the fields of a request; docs/API.md lists them.
const (
	maxStops       = 16   // stop sequences
	maxStopBytes   = 1024 // per stop sequence
	maxLogitBiases = 4096
	maxRepeatLastN = 1 << 20 // tokens
	maxChoices     = 16

	// defaultCompletionTokens is what OpenAI documents for /v1/completions.
	// A raw prompt has no end-of-turn token that could end the answer.
	defaultCompletionTokens = 16
)

// job is a decoded body: what to ask of the engine, and how to answer.
type job struct {
	req             Request
	stream          bool
	includeUsage    bool
	includeProgress bool
	echo            bool
	choices         int          // answers to the same prompt
	answered        bool         // the engine's answer is complete
	response        *responseJob // of /v1/responses, otherwise nil
	user            string       // whom the client asks for
	accepted        func()       // the prompt fits: its size is bounded by the context from here on
}

func (j *job) completions(h head) completions {
	return completions{head: h, includeUsage: j.includeUsage, includeProgress: j.includeProgress}
}

// decodeBody checks the syntax of a body and reads its fields.
func decodeBody(body []byte) (*object, *Error) {
	if len(body) == 0 {
		return nil, invalid("", "the body is empty; a JSON object is expected")
	}
	if err := checkJSON(body); err != nil {
		return nil, invalid("", "%v", err)
	}
	return newObject(bytes.TrimSpace(body), "the body", "")
}

// decodeShared reads what both completion requests have in common.
func decodeShared(o *object) *job {
	j := &job{}
	refuseUnsupported(o)
	j.req.Model, _ = o.string("model")
	j.user, _ = o.string("user")
	decodeStream(o, j)
	j.choices = decodeChoices(o)
	decodeSampling(o, &j.req.Sampling)
	j.req.Stop = decodeStops(o, "stop")
	j.req.Grammar = decodeGrammar(o)
	return j
}

// decodeChoices reads how many answers are asked for.
func decodeChoices(o *object) int {
	if n := o.smallInt("n", 1, maxChoices); n != nil {
		return *n
	}
	return 1
}

// reachSpans is how finely an answer says which tokens it attended to.
const reachSpans = 256

func decodeStream(o *object, j *job) {
	j.stream = o.bool("stream", false)
	raw, ok := o.get("stream_options")
	if !ok {
		return
	}
	if !j.stream {
		o.fail("stream_options", `is only allowed together with "stream": true`)
		return
	}
	opts, err := newObject(raw, "stream_options", "stream_options.")
	if err != nil {
		o.err = err
		return
	}
	j.includeUsage = opts.bool("include_usage", false)
	j.includeProgress = opts.bool("include_progress", false)
	if opts.bool("include_reach", false) {
		j.req.Reach = reachSpans
	}
	if opts.bool("include_obfuscation", false) {
		opts.fail("include_obfuscation", "is not supported by this server, got true; only false is accepted")
	}
	o.err = opts.err
}

func decodeSampling(o *object, s *Sampling) {
	s.Temperature = o.number("temperature", span{lo: 0, hi: 2})
	s.TopP = o.number("top_p", span{lo: 0, hi: 1, open: true})
	s.MinP = o.number("min_p", span{lo: 0, hi: 1})
	s.TypicalP = o.number("typical_p", span{lo: 0, hi: 1, open: true})
	s.PresencePenalty = o.number("presence_penalty", span{lo: -2, hi: 2})
	s.FrequencyPenalty = o.number("frequency_penalty", span{lo: -2, hi: 2})
	s.RepeatLastN = o.smallInt("repeat_last_n", -1, maxRepeatLastN)
	s.Seed = o.int("seed", math.MinInt64, math.MaxInt64)

	repeat := span{lo: 0, hi: 10, open: true}
	s.RepeatPenalty = agree(o,
		"repeat_penalty", o.number("repeat_penalty", repeat),
		"repetition_penalty", o.number("repetition_penalty", repeat))

	// -1 is how vLLM spells off, 0 how llama-server does.
	if s.TopK = o.smallInt("top_k", -1, math.MaxInt32); s.TopK != nil {
		*s.TopK = max(*s.TopK, 0)
	}
	s.LogitBias = decodeLogitBias(o)
}

func decodeLogitBias(o *object) map[int32]float64 {
	raw, ok := o.get("logit_bias")
	if !ok {
		return nil
	}
	b, err := newObject(raw, "logit_bias", "logit_bias.")
	switch {
	case err != nil:
		o.err = err
		return nil
	case len(b.fields) > maxLogitBiases:
		o.fail("logit_bias", "has %d entries, but at most %d are accepted", len(b.fields), maxLogitBiases)
		return nil
	}
	bias := make(map[int32]float64, len(b.fields))
	for key := range b.fields {
		id, err := strconv.ParseInt(key, 10, 32)
		if err != nil || id < 0 {
			o.fail("logit_bias", "has the key %s, which is no token id", show([]byte(strconv.Quote(key))))
			return nil
		}
		v := b.number(key, span{lo: -100, hi: 100})
		if v == nil {
			b.fail(key, "must be a number, got null")
			o.err = b.err
			return nil
		}
		if _, twice := bias[int32(id)]; twice {
			o.fail("logit_bias", "has token %d twice, in two spellings", id)
			return nil
		}
		bias[int32(id)] = *v
	}
	return bias
}

// decodeStops reads a string or an array of strings at which an answer ends.
func decodeStops(o *object, field string) []string {
	raw, ok := o.get(field)
	if !ok {
		return nil
	}
	var stops []string
	add := func(name string, raw json.RawMessage) bool {
		var s string
		switch {
		case isNull(raw) || json.Unmarshal(raw, &s) != nil:
			o.fail(name, "must be a string, got %s", show(raw))
		case s == "":
			o.fail(name, "must not be empty")
		case len(s) > maxStopBytes:
			o.fail(name, "has %d bytes, but at most %d are accepted", len(s), maxStopBytes)
		case len(stops) == maxStops:
			o.fail(field, "has more than %d sequences", maxStops)
		default:
			stops = append(stops, s)
		}
		return o.err == nil
	}
	if raw[0] == '"' {
		add(field, raw)
		return stops
	}
	isArray := elements(raw, func(i int, raw json.RawMessage) bool {
		return add(field+"["+strconv.Itoa(i)+"]", raw)
	})
	if !isArray {
		o.fail(field, "must be a string or an array of strings, got %s", show(raw))
	}
	return stops
}

// decodeMaxTokens returns 0 when the request sets no limit.
func decodeMaxTokens(o *object, fields ...string) int {
	var limit *int
	for i, f := range fields {
		if n := o.smallInt(f, 1, math.MaxInt32); i == 0 {
			limit = n
		} else {
			limit = agree(o, fields[0], limit, f, n)
		}
	}
	if limit == nil {
		return 0
	}
	return *limit
}
