// Package jinja parses and renders the part of the Jinja2 language that the
// chat templates of language models use, with the semantics of Jinja2 3.1 in
// its immutable sandbox as Hugging Face transformers configures it: trim_blocks
// and lstrip_blocks on, one trailing newline dropped, the default undefined
// type, no autoescaping, break and continue, {% generation %} as a plain scope,
// and a tojson filter that is Python's json.dumps with ensure_ascii off.
//
// The language is complete as far as it goes: a tag, filter, test or construct
// that is not implemented is refused by [Parse] with its line, never skipped.
// Refused on purpose are include, import, from, extends and block, because a
// template that comes from a model file must not read anything else, and the
// HTML filters.
//
// One difference in scoping is known: Jinja2 decides at compile time whether a
// name is a variable of the template or of the caller. If a template assigns a
// name of the caller unconditionally at its top level, Jinja2 gives undefined
// for that name in loops and macros that run before the assignment; here they
// see the caller's value.
//
// Values are Go values: nil (None), bool, int64, float64, string, [*List],
// [*Dict] and [Func]; [DecodeJSON] makes them from JSON and keeps the order of
// keys. Python's unbounded integers are not modelled: arithmetic that leaves 64
// bits is an error. Integers of JSON that need more than 64 bits are carried
// through to output unchanged.
//
// Safety: templates are untrusted. Parsing and rendering are bounded by the
// Max constants; running into one gives a [*LimitError] that names it. Nothing
// here reads files, the environment or the clock, and no input makes it panic.
//
// Ownership and concurrency: a [*Template] is immutable after Parse and may be
// rendered from many goroutines at once. Render never modifies the values it
// is given, and keeps no reference to them after it returns.
//
// Failure modes: every error of Parse and Render is an [*Error] with the line
// and its text; the cause is reached with errors.As.
package jinja
