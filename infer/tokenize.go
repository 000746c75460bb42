package infer

import (
	"context"
	"fmt"

	"edged/infer/tok"
)

// Tokenize returns the tokens of a text, with the model's BOS and EOS as it
// wants them when addSpecial is set.
func (e *Engine) Tokenize(ctx context.Context, model, text string, addSpecial, parseSpecial bool) ([]Token, error) {
	f, err := e.namedFront(ctx, model)
	if err != nil {
		return nil, fmt.Errorf("tokenize: %w", err)
	}
	ids := f.encode(text, addSpecial, parseSpecial)
	if addSpecial {
		ids = f.tok.AppendEOS(ids)
	}
	out := make([]Token, len(ids))
	for i, id := range ids {
		out[i] = Token{ID: id, Piece: []byte(f.tok.Token(id))}
	}
	return out, nil
}

// CountTokens returns the number of tokens of a request's prompt, which is not
// held against the context.
func (e *Engine) CountTokens(ctx context.Context, req *Request) (int, error) {
	f, err := e.namedFront(ctx, req.Model)
	if err != nil {
		return 0, fmt.Errorf("count tokens: %w", err)
	}
	ids, _, err := f.promptTokens(req)
	if err != nil {
		return 0, fmt.Errorf("count tokens: %w", err)
	}
	return len(ids), nil
}

// Detokenize returns the text of ids, control tokens spelled out. Bytes that
// are not UTF-8 become U+FFFD.
func (e *Engine) Detokenize(ctx context.Context, model string, ids []int32) (string, error) {
	f, err := e.namedFront(ctx, model)
	if err != nil {
		return "", fmt.Errorf("detokenize: %w", err)
	}
	s := f.tok.NewStream(tok.NoToken, true)
	var text []byte
	for i, id := range ids {
		if id < 0 || int(id) >= f.vocab {
			return "", fmt.Errorf("detokenize: %w", &InvalidError{"tokens", fmt.Sprintf("token %d is %d, the vocabulary has %d tokens", i, id, f.vocab)})
		}
		text = s.Append(text, id)
	}
	return string(text) + s.Flush(), nil
}

func (e *Engine) namedFront(ctx context.Context, name string) (*front, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if name == "" {
		name = e.cfg.Default
	}
	if _, ok := e.cfg.model(name); !ok {
		return nil, &ModelError{Model: name, Known: e.cfg.names()}
	}
	return e.front(name)
}
