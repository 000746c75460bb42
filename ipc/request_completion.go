package ipc

import "encoding/json"

// decodeCompletion reads the body of POST /v1/completions.
func decodeCompletion(body []byte) (*job, *Error) {
	o, err := decodeBody(body)
	if err != nil {
		return nil, err
	}
	j := decodeShared(o)
	j.req.MaxTokens = decodeMaxTokens(o, "max_tokens")
	if j.req.MaxTokens == 0 {
		j.req.MaxTokens = defaultCompletionTokens
	}
	// Here logprobs is a number, and 0 asks for the sampled tokens alone.
	if top := o.smallInt("logprobs", 0, MaxTopLogprobs); top != nil {
		j.req.Logprobs, j.req.TopLogprobs = true, *top
	}
	j.echo = o.bool("echo", false)
	if j.echo && j.req.Logprobs {
		o.fail("echo", `is not supported together with "logprobs": the prompt's tokens have none here`)
	}
	refuseSession(o)
	refuseListed(o, map[string][]string{"reasoning_format": {`"none"`}}) // a raw prompt's answer is one text
	refuseTools(o)
	j.req.Prompt = decodePrompt(o)
	if o.err != nil {
		return nil, o.err
	}
	return j, nil
}

// decodePrompt reads a string, an array of token ids, or an array that holds
// one of these: OpenAI's form for several prompts in one request.
func decodePrompt(o *object) *Prompt {
	raw, ok := o.get("prompt")
	if !ok {
		o.fail("prompt", "is required: a string or an array of token ids")
		return nil
	}
	inner, several := raw, false
	if raw[0] == '[' {
		elements(raw, func(i int, raw json.RawMessage) bool {
			nested := raw[0] == '"' || raw[0] == '['
			switch {
			case i > 0:
				several = true
			case nested:
				inner = raw
			}
			return i == 0 && nested // numbers are read below, all at once
		})
	}
	if several {
		o.fail("prompt", "has several prompts; only one per request is supported")
		return nil
	}
	switch inner[0] {
	case '"':
		var s string
		if json.Unmarshal(inner, &s) != nil {
			o.fail("prompt", "must be a string, got %s", show(inner))
		}
		return &Prompt{Text: s}
	case '[':
		ids, bad := tokenIDs(inner)
		switch {
		case bad >= 0:
			o.fail("prompt", "must be a string or an array of token ids, but element %d is none: %s", bad, show(raw))
		case len(ids) == 0:
			o.fail("prompt", "must hold at least one token id, got []")
		}
		return &Prompt{Tokens: ids}
	}
	o.fail("prompt", "must be a string or an array of token ids, got %s", show(raw))
	return nil
}
