package infer

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"

	"edged/infer/grammar"
	"edged/infer/tok"
)

// maxGrammars is how many grammars a model keeps with what has been found out
// about them. Clients send the same few with every request.
const maxGrammars = 16

// grammars are the grammars that were used last with a model. The zero value
// is ready; methods may be called from any goroutine.
type grammars struct {
	once  sync.Once
	vocab *grammar.Vocabulary // from the first request with a grammar on

	mu     sync.Mutex
	byText map[string]*list.Element
	recent list.List // of *boundGrammar, the last used first
}

type boundGrammar struct {
	text string
	c    *grammar.Constraint
}

// grammarTokens hides the tokens after which the decoder drops a space: what
// follows one would not be the text that the grammar has seen.
type grammarTokens struct{ *tok.Tokenizer }

func (t grammarTokens) IsControl(id int32) bool {
	return t.Tokenizer.IsControl(id) || t.DropsSpace(id)
}

// constrain makes t follow a grammar from its first token on.
func (f *front) constrain(ctx context.Context, t *task, g *Grammar, context int) error {
	c, err := f.constraint(ctx, g)
	if err != nil && ctx.Err() != nil {
		return err // not the grammar's fault
	}
	if err != nil {
		return &InvalidError{g.Field, err.Error()}
	}
	t.grammarField = g.Field
	if t.matcher, err = c.Matcher(f.tok.DropsSpace(t.ids[len(t.ids)-1])); err != nil {
		return &InvalidError{g.Field, err.Error()}
	}
	if left := t.left(context); !t.matcher.Fits(left) {
		return &InvalidError{g.Field, fmt.Sprintf("the shortest answer has %d bytes, which do not fit in the %d tokens that the answer may have",
			t.matcher.ShortestBytes(), left)}
	}
	return nil
}

// constraint compiles a grammar, or finds it. It ends with ctx.
func (f *front) constraint(ctx context.Context, g *Grammar) (*grammar.Constraint, error) {
	text := fmt.Sprintf("%t\x00%s\x00%s", g.AnyObject, g.Schema, g.GBNF)
	if g.Calls != nil {
		text = fmt.Sprintf("calls\x00%d %q %q", g.Calls.Most, g.Calls.Frame, g.Calls.Functions)
	}
	k := &f.grammars
	if c := k.find(text); c != nil {
		return c, nil
	}
	compiled, err := compileGrammar(g)
	if err != nil {
		return nil, err
	}
	k.once.Do(func() { k.vocab = grammar.NewVocabulary(grammarTokens{f.tok}, f.vocab) })
	c, err := grammar.New(compiled, k.vocab)
	if err != nil {
		return nil, err
	}
	if err := c.Warm(ctx); err != nil { // here and not in the owner, which others wait for
		return nil, err
	}
	k.keep(text, c)
	return c, nil
}

func (k *grammars) find(text string) *grammar.Constraint {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.byText[text]
	if e == nil {
		return nil
	}
	k.recent.MoveToFront(e)
	return e.Value.(*boundGrammar).c
}

// keep remembers a grammar. Two requests may have compiled the same one.
func (k *grammars) keep(text string, c *grammar.Constraint) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.byText[text] != nil {
		return
	}
	if k.byText == nil {
		k.byText = map[string]*list.Element{}
	}
	k.byText[text] = k.recent.PushFront(&boundGrammar{text, c})
	if k.recent.Len() > maxGrammars {
		delete(k.byText, k.recent.Remove(k.recent.Back()).(*boundGrammar).text)
	}
}

func compileGrammar(g *Grammar) (*grammar.Grammar, error) {
	switch {
	case g.Calls != nil && !g.AnyObject && g.GBNF == "" && g.Schema == nil:
		return grammar.FromCalls(g.Calls.Frame, g.Calls.Functions, g.Calls.Most)
	case g.AnyObject && g.GBNF == "" && g.Schema == nil:
		return grammar.JSONObject(), nil
	case g.Schema != nil && !g.AnyObject && g.GBNF == "":
		return grammar.FromSchema(g.Schema)
	case g.Schema == nil && !g.AnyObject && g.GBNF != "":
		return grammar.ParseGBNF(g.GBNF)
	}
	return nil, errors.New("exactly one of a GBNF grammar, a JSON schema and any object must be asked for")
}
