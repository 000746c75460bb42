package jinja

import (
	"errors"
	"fmt"
	"strings"
)

// An Error is a failure to parse or to render, with its place in the source.
type Error struct {
	Line   int    // 1-based line of the template source
	Source string // text of that line, shortened to maxQuoted bytes
	Err    error  // the cause
}

const maxQuoted = 160

func (e *Error) Error() string {
	return fmt.Sprintf("template line %d: %v: %s", e.Line, e.Err, e.Source)
}

func (e *Error) Unwrap() error { return e.Err }

// located gives err the line unless an inner place is already known.
func located(err error, line int) error {
	var at *lineError
	if errors.As(err, &at) {
		return err
	}
	return &lineError{line, err}
}

// lineError carries a line up to the point where the source is at hand.
type lineError struct {
	line int
	err  error
}

func (e *lineError) Error() string { return e.err.Error() }
func (e *lineError) Unwrap() error { return e.err }

// withSource turns a located error into the public one.
func withSource(err error, source string) error {
	var at *lineError
	if !errors.As(err, &at) {
		return &Error{Line: 1, Source: sourceLine(source, 1), Err: err}
	}
	return &Error{Line: at.line, Source: sourceLine(source, at.line), Err: at.err}
}

func sourceLine(source string, line int) string {
	for ; line > 1; line-- {
		_, rest, found := strings.Cut(source, "\n")
		if !found {
			return ""
		}
		source = rest
	}
	text, _, _ := strings.Cut(source, "\n")
	text = strings.TrimSpace(text)
	if len(text) > maxQuoted {
		text = strings.ToValidUTF8(text[:maxQuoted], "") + "..."
	}
	return text
}
