// Package chat renders a conversation with a model's own chat template (the
// Jinja text in tokenizer.chat_template of a GGUF file), byte for byte as
// Python's transformers renders it.
//
// A template is parsed and tried on probe conversations by [New], so that a
// model whose template cannot be used fails when it is loaded, with the line,
// and not at the first request. What remains at request time is a
// [*RaisedError] (the template itself refuses the conversation, e.g. because
// roles do not alternate), a [*RequestError] (the request is malformed), or a
// [*jinja.Error] (the conversation leads the template into an error, or over
// one of the limits of package jinja).
//
// Templates come from model files and are untrusted: they cannot read files or
// the environment, and their time, memory and output are bounded. Text of users
// is data: it is never parsed as a template, and Options.Guard can rewrite it
// before the template sees it.
//
// Ownership and concurrency: a [*Template] is immutable and may render many
// requests at once. A Request is only read and not kept.
package chat
