package infer

import (
	"encoding/json"
	"fmt"

	"edged/infer/chat"
	"edged/infer/grammar"
)

// Tools are functions that the model may call instead of answering in words.
type Tools struct {
	JSON      json.RawMessage // OpenAI's array of tools, for the template
	Functions []Function      // that may be called
	Must      bool            // the answer is calls and nothing else
	Single    bool            // at most one call; needs Must
}

// Function is one tool.
type Function struct {
	Name       string          // letters, digits, _, - and .
	Parameters json.RawMessage // JSON schema of the arguments; nil: there are none
}

// Calls are one to Most calls of any of the functions.
type Calls struct {
	Functions []grammar.Call
	Frame     grammar.Frame
	Most      int
}

// maxForcedCalls is how many calls an answer may have that must be calls: a weak
// model would never stop.
const maxForcedCalls = 16

// CallDelta is a piece of a call.
type CallDelta struct {
	Index     int    // of the call, from 0
	Name      string // in the first piece only
	Arguments string // a piece of a JSON object
}

// toolChat is a request as the template gets it.
func (f *front) toolChat(req *Request) (chat.Request, error) {
	r := chat.Request{Messages: req.Messages, Vars: req.Vars, AddGenerationPrompt: true}
	if req.Tools != nil {
		if f.chat.ToolStyle() == chat.NoTools {
			return r, &InvalidError{"tools", fmt.Sprintf("are not supported by model %s: its chat template has no place for them, or asks for a notation of calls that is not known here", f.name)}
		}
		r.Tools = req.Tools.JSON
	}
	return f.chat.WithTools(r), nil
}

// callGrammar is what an answer must match that has to be calls.
func (f *front) callGrammar(t *Tools) *Grammar {
	c := &Calls{Frame: grammar.Frame(f.chat.ToolStyle().Frame()), Most: maxForcedCalls}
	if t.Single {
		c.Most = 1
	}
	for _, fn := range t.Functions {
		schema := fn.Parameters
		switch {
		case schema == nil:
			schema = json.RawMessage(`{"type":"object","properties":{},"additionalProperties":false}`)
		case string(schema) == "{}":
			schema = json.RawMessage(`{"type":"object"}`)
		}
		c.Functions = append(c.Functions, grammar.Call{Name: fn.Name, Schema: schema})
	}
	return &Grammar{Field: "tools", Calls: c}
}

// callStream takes the calls out of an answer on its way to the caller.
type callStream struct {
	parser *chat.CallParser
	calls  []CallDelta // reused
	text   []byte      // reused
}

func newCallStream(style chat.ToolStyle, t *Tools) *callStream {
	names := make([]string, len(t.Functions))
	for i, f := range t.Functions {
		names[i] = f.Name
	}
	return &callStream{parser: chat.NewCallParser(style, names)}
}

// split replaces the text of d by what is no call.
func (s *callStream) split(d Delta) Delta {
	s.take(s.parser.Push(d.Text))
	d.Text, d.Calls = s.text, s.calls
	return d
}

// end is the last of the answer.
func (s *callStream) end() Delta {
	s.take(s.parser.Close())
	return Delta{Text: s.text, Calls: s.calls}
}

func (s *callStream) take(list []chat.Fragment) {
	s.text, s.calls = s.text[:0], s.calls[:0]
	for _, f := range list {
		if f.Text != "" {
			s.text = append(s.text, f.Text...)
		} else {
			s.calls = append(s.calls, CallDelta{f.Call, f.Name, f.Arguments})
		}
	}
}

func (d Delta) empty() bool {
	return len(d.Thought) == 0 && len(d.Text) == 0 && len(d.Logprobs) == 0 && len(d.Calls) == 0 && d.Progress == nil
}

// delivering hands an answer to a function, piece by piece.
type delivering func(emit func(Delta) error) (Result, error)

// converse is deliver for a request with tools.
func (s *callStream) converse(deliver delivering, emit func(Delta) error) (Result, error) {
	pass := func(d Delta) error {
		if d.empty() {
			return nil
		}
		return emit(d)
	}
	res, err := deliver(func(d Delta) error { return pass(s.split(d)) })
	if err == nil {
		err = pass(s.end())
	}
	if s.parser.Calls() > 0 && res.Finish == FinishStop {
		res.Finish = FinishCalls
	}
	return res, err
}
