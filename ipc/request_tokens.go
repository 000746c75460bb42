package ipc

// tokenizeJob is the decoded body of POST /tokenize.
type tokenizeJob struct {
	req        TokenizeRequest
	withPieces bool
}

// decodeTokenize reads a body with the fields and defaults of llama-server.
func decodeTokenize(body []byte) (*tokenizeJob, *Error) {
	o, err := decodeBody(body)
	if err != nil {
		return nil, err
	}
	j := &tokenizeJob{}
	j.req.Model, _ = o.string("model")
	content, ok := o.string("content")
	if !ok {
		o.fail("content", "is required: a string")
	}
	j.req.Content = content
	j.req.AddSpecial = o.bool("add_special", false)
	j.req.ParseSpecial = o.bool("parse_special", true)
	j.withPieces = o.bool("with_pieces", false)
	if o.err != nil {
		return nil, o.err
	}
	return j, nil
}

// detokenizeJob is the decoded body of POST /detokenize.
type detokenizeJob struct {
	model string
	ids   []int32
}

func decodeDetokenize(body []byte) (*detokenizeJob, *Error) {
	o, err := decodeBody(body)
	if err != nil {
		return nil, err
	}
	j := &detokenizeJob{}
	j.model, _ = o.string("model")
	raw, ok := o.get("tokens")
	switch {
	case !ok:
		o.fail("tokens", "is required: an array of token ids")
	case raw[0] != '[':
		o.fail("tokens", "must be an array of token ids, got %s", show(raw))
	default:
		ids, bad := tokenIDs(raw)
		if j.ids = ids; bad >= 0 {
			o.fail("tokens", "must be an array of token ids, but element %d is none: %s", bad, show(raw))
		}
	}
	if o.err != nil {
		return nil, o.err
	}
	return j, nil
}
