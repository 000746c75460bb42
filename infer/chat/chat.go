package chat

import (
	"encoding/json"
	"strings"
	"time"

	"edged/infer/chat/jinja"
)

// Message is one turn of a conversation. Fields that are empty are absent from
// the dict that the template sees, except role and content, which every
// template reads.
type Message struct {
	Role             string
	Content          string
	Parts            json.RawMessage // JSON array of content parts; replaces Content if not nil
	Name             string
	ToolCallID       string
	ReasoningContent string          // the "reasoning_content" of an assistant turn; also given under its older name "thinking"
	ToolCalls        json.RawMessage // JSON array of OpenAI tool calls, or nil
}

// Request is a conversation to render.
type Request struct {
	Messages            []Message
	Tools               json.RawMessage // JSON array of OpenAI tools, or nil for none
	AddGenerationPrompt bool            // end with the opening of an assistant turn
	Vars                map[string]any  // further variables, e.g. enable_thinking; values are what encoding/json can marshal
}

// Options configure a template.
type Options struct {
	BOS, EOS string           // text of bos_token and eos_token; empty: the model has none, the name is undefined
	Now      func() time.Time // clock of strftime_now; nil: time.Now. A date in the prompt ends prefix reuse when it changes.

	// Guard is applied to every string that comes with a request (roles,
	// contents, names, ids, keys and strings in tools, tool calls and Vars)
	// before the template sees it. It is there to break up the text of special
	// tokens, so that users cannot write tokens. It must not rewrite what
	// templates compare with, such as the role names. nil: no change.
	Guard func(string) string
}

// Template is a chat template ready to render.
type Template struct {
	tmpl     *jinja.Template
	opt      Options
	supports support
	style    ToolStyle
	thinks   bool
}

// New parses a template and renders probe conversations with it. The error of
// a template that cannot be used names the line; it is a *jinja.Error, or a
// *RaisedError if the template refuses even one plain user turn.
func New(source string, opt Options) (*Template, error) {
	tmpl, err := jinja.Parse(source)
	if err != nil {
		return nil, err
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	t := &Template{tmpl: tmpl, opt: opt}
	if t.supports, err = t.probe(); err != nil {
		return nil, err
	}
	t.style = styleOf(source, t.supports.tools)
	t.thinks = strings.Contains(source, thoughtEnds)
	return t, nil
}

// ToolStyle is the notation in which the model is to write calls of tools.
func (t *Template) ToolStyle() ToolStyle { return t.style }

// Thinks says whether the template knows answers that begin with a thought: those
// that do, take it out of earlier turns or open it.
func (t *Template) Thinks() bool { return t.thinks }

// Render returns the prompt for a conversation.
func (t *Template) Render(req Request) (string, error) {
	vars, err := t.variables(req)
	if err != nil {
		return "", err
	}
	return t.render(vars)
}

// SupportsSystem reports whether a system message reaches the prompt.
func (t *Template) SupportsSystem() bool { return t.supports.system }

// SupportsTools reports whether the definitions of tools reach the prompt.
func (t *Template) SupportsTools() bool { return t.supports.tools }
