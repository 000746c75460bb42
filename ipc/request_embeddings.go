package ipc

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// maxInputs is how many texts one request may bring, as in OpenAI's API.
const maxInputs = 2048

// embeddingsJob is the decoded body of POST /v1/embeddings.
type embeddingsJob struct {
	req    EmbedRequest
	base64 bool
	user   string
}

// unsupportedOfEmbeddings are fields of vLLM's and llama-server's APIs, as
// unsupportedFields are.
var unsupportedOfEmbeddings = map[string][]string{
	"add_special_tokens":     {`true`},
	"embd_normalize":         {`2`},
	"normalize":              {`true`},
	"session":                nil,
	"truncate_prompt_tokens": nil,
}

func decodeEmbeddings(body []byte) (*embeddingsJob, *Error) {
	o, err := decodeBody(body)
	if err != nil {
		return nil, err
	}
	refuseListed(o, unsupportedOfEmbeddings)
	j := &embeddingsJob{}
	j.req.Model, _ = o.string("model")
	j.user, _ = o.string("user")
	if n := o.smallInt("dimensions", 1, math.MaxInt32); n != nil {
		j.req.Dimensions = *n
	}
	switch format, ok := o.string("encoding_format"); {
	case !ok, format == "float":
	case format == "base64":
		j.base64 = true
	default:
		o.fail("encoding_format", `must be "float" or "base64", got %s`, show(o.fields["encoding_format"]))
	}
	j.req.Inputs = decodeInputs(o)
	if o.err != nil {
		return nil, o.err
	}
	return j, nil
}

// decodeInputs reads a string, an array of token ids, or an array of several of
// either.
func decodeInputs(o *object) []Prompt {
	const wanted = "must be a string, an array of token ids, or an array of these"
	raw, ok := o.get("input")
	if !ok {
		o.fail("input", "is required: %s", strings.TrimPrefix(wanted, "must be "))
		return nil
	}
	if raw[0] != '[' {
		return []Prompt{decodeOneInput(o, "input", raw, wanted)}
	}
	var inputs []Prompt
	single := false
	elements(raw, func(i int, item json.RawMessage) bool {
		if single = i == 0 && item[0] != '"' && item[0] != '['; single {
			return false // numbers, which are read all at once
		}
		if i == maxInputs {
			o.fail("input", "has more than %d inputs", maxInputs)
			return false
		}
		inputs = append(inputs, decodeOneInput(o, "input["+strconv.Itoa(i)+"]", item, "must be a string or an array of token ids"))
		return o.err == nil
	})
	switch {
	case single:
		return []Prompt{decodeOneInput(o, "input", raw, wanted)}
	case len(inputs) == 0:
		o.fail("input", "must hold at least one input, got []")
	}
	return inputs
}

// decodeOneInput reads one text, or its token ids.
func decodeOneInput(o *object, field string, raw json.RawMessage, wanted string) Prompt {
	var p Prompt
	switch raw[0] {
	case '"':
		if json.Unmarshal(raw, &p.Text) != nil {
			o.fail(field, "%s, got %s", wanted, show(raw))
		}
		if p.Text == "" {
			o.fail(field, "must not be empty")
		}
	case '[':
		ids, bad := tokenIDs(raw)
		switch p.Tokens = ids; {
		case bad >= 0:
			o.fail(field, "%s, but element %d is none: %s", wanted, bad, show(raw))
		case len(ids) == 0:
			o.fail(field, "must hold at least one token id, got []")
		}
	default:
		o.fail(field, "%s, got %s", wanted, show(raw))
	}
	return p
}
