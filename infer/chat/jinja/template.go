package jinja

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Template is a parsed template.
type Template struct {
	source string
	body   []stmt
}

// Parse parses a template source.
func Parse(source string) (*Template, error) {
	if len(source) > MaxSourceBytes {
		return nil, &Error{Line: 1, Source: sourceLine(source[:maxQuoted], 1),
			Err: fmt.Errorf("source of %d bytes: %w", len(source), &LimitError{"MaxSourceBytes", MaxSourceBytes, "bytes of source"})}
	}
	if !utf8.ValidString(source) {
		return nil, &Error{Line: 1, Err: errors.New("source is not valid UTF-8")}
	}
	source = normalizeSource(source)
	t := &Template{source: source}
	toks, err := lex(source)
	if err == nil {
		p := &parser{toks: toks}
		if t.body, _, err = p.body(); err == nil && len(p.safes) > 0 {
			err = located(errSafePlace, p.safes[0])
		}
	}
	if err != nil {
		return nil, withSource(err, source)
	}
	return t, nil
}

// Render renders the template with vars as its global names. A value of vars
// is one of the types named in the package comment, nested as needed.
func (t *Template) Render(vars map[string]any) (string, error) {
	in := &interp{out: &strings.Builder{}}
	// Assignments at the top level must not reach the caller's map.
	if _, err := in.run(t.body, newScope(vars).child()); err != nil {
		return "", withSource(err, t.source)
	}
	return in.out.String(), nil
}
