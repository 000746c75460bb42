package infer

import (
	"edged/infer/chat"
	"edged/infer/tok"
)

// thoughtStream takes the thought out of an answer on its way to the caller.
type thoughtStream struct {
	parser *chat.ThoughtParser
	opened bool // by the prompt
	any    bool // there has been one
}

// thoughtsOf is nil where an answer has none that could be told from it: the
// template knows no thoughts, the answer must match a grammar from its first token
// on, or the caller wants it as it is.
func (f *front) thoughtsOf(req *Request, prompt string) *thoughtStream {
	if req.Messages == nil || req.RawThoughts || req.Grammar != nil || req.Tools != nil && req.Tools.Must || !f.chat.Thinks() {
		return nil
	}
	opened := chat.ThoughtOpened(prompt)
	return &thoughtStream{parser: chat.NewThoughtParser(opened), opened: opened}
}

// converse is deliver for an answer that may begin with a thought.
func (s *thoughtStream) converse(deliver delivering, emit func(Delta) error) (Result, error) {
	pass := func(d Delta) error {
		s.any = s.any || len(d.Thought) > 0
		if d.empty() {
			return nil
		}
		return emit(d)
	}
	res, err := deliver(func(d Delta) error {
		d.Thought, d.Text = s.parser.Push(d.Text)
		return pass(d)
	})
	if err == nil {
		var d Delta
		d.Thought, d.Text = s.parser.Close()
		err = pass(d)
	}
	return res, err
}

// tokens is how many of an answer's tokens its thought has, tags included.
func (s *thoughtStream) tokens(t *tok.Tokenizer, answer []int32) int {
	if !s.any {
		return 0
	}
	p := chat.NewThoughtParser(s.opened)
	for i, id := range answer {
		p.Push([]byte(t.Token(id)))
		if p.Ended() {
			return i + 1
		}
	}
	return len(answer)
}
