package ipc

import (
	"bytes"
	"encoding/json"
)

// Grammar says what the whole answer must match. Exactly one of GBNF, Schema
// and AnyObject is set.
type Grammar struct {
	Field     string          // of the request, for errors
	GBNF      string          // a grammar in llama.cpp's notation
	Schema    json.RawMessage // a JSON schema: an object or a boolean
	AnyObject bool            // any JSON object
}

// decodeGrammar reads response_format and grammar. Whether a schema or grammar
// is supported is for the engine to find out.
func decodeGrammar(o *object) *Grammar {
	g := decodeResponseFormat(o)
	text, _ := o.string("grammar")
	if text == "" || o.err != nil {
		return g
	}
	if g != nil {
		o.fail("grammar", "is not possible together with %s: both say what the answer must match", g.Field)
		return nil
	}
	return &Grammar{Field: "grammar", GBNF: text}
}

func decodeResponseFormat(o *object) *Grammar {
	raw, ok := o.get("response_format")
	if !ok {
		return nil
	}
	f, err := newObject(raw, "response_format", "response_format.")
	if err != nil {
		o.err = err
		return nil
	}
	g := formatGrammar(f)
	if o.err = f.err; o.err != nil {
		return nil
	}
	return g
}

func formatGrammar(f *object) *Grammar {
	kind, ok := f.string("type")
	switch {
	case f.err != nil || kind == "text":
		return nil
	case !ok:
		f.fail("type", "is required: text, json_object or json_schema")
		return nil
	case kind == "json_object":
		// llama-server takes a schema here.
		if schema := decodeSchema(f); schema != nil || f.err != nil {
			return &Grammar{Field: "response_format.schema", Schema: schema}
		}
		return &Grammar{Field: "response_format", AnyObject: true}
	case kind != "json_schema":
		f.fail("type", "must be text, json_object or json_schema, got %s", show(f.fields["type"]))
		return nil
	}
	raw, ok := f.get("json_schema")
	if !ok {
		f.fail("json_schema", `is required: {"name": ..., "schema": {...}}`)
		return nil
	}
	j, err := newObject(raw, "response_format.json_schema", "response_format.json_schema.")
	if err != nil {
		f.err = err
		return nil
	}
	j.string("name")
	j.string("description")
	j.bool("strict", true) // here a schema is always kept to
	schema := decodeSchema(j)
	if schema == nil {
		j.fail("schema", "is required: a JSON schema")
	}
	f.err = j.err
	return &Grammar{Field: "response_format.json_schema.schema", Schema: schema}
}

// decodeSchema returns the field schema, nil when it is absent.
func decodeSchema(o *object) json.RawMessage {
	raw, ok := o.get("schema")
	if !ok {
		return nil
	}
	if raw[0] != '{' && raw[0] != 't' && raw[0] != 'f' {
		o.fail("schema", "must be a JSON schema, which is an object or a boolean, got %s", show(raw))
		return nil
	}
	return bytes.Clone(raw)
}
