package grammar

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// value is JSON with its members in order: properties are generated in the
// order in which a schema declares them.
type value struct {
	kind   kind
	text   string  // of a string or number; true or false
	items  []value // of an array, or the values of members
	fields []string
}

type kind string

const (
	kindNull   kind = "null"
	kindBool   kind = "boolean"
	kindNumber kind = "number"
	kindString kind = "string"
	kindArray  kind = "array"
	kindObject kind = "object"
)

// get returns a member of an object.
func (v value) get(name string) (value, bool) {
	for i, f := range v.fields {
		if f == name {
			return v.items[i], true
		}
	}
	return value{}, false
}

// json appends the value without whitespace.
func (v value) json(dst []byte) []byte {
	switch v.kind {
	case kindString:
		return append(dst, quote(v.text)...)
	case kindArray, kindObject:
		open, end := byte('['), byte(']')
		if v.kind == kindObject {
			open, end = '{', '}'
		}
		dst = append(dst, open)
		for i, x := range v.items {
			if i > 0 {
				dst = append(dst, ',')
			}
			if v.kind == kindObject {
				dst = append(append(dst, quote(v.fields[i])...), ':')
			}
			dst = x.json(dst)
		}
		return append(dst, end)
	}
	return append(dst, v.text...)
}

// quote writes a JSON string with no more escapes than there must be.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		b.WriteString(escaped(r))
	}
	b.WriteByte('"')
	return b.String()
}

// shortEscapes are the escapes of one letter.
var shortEscapes = map[rune]string{'"': `\"`, '\\': `\\`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`}

func escaped(r rune) string {
	if s, ok := shortEscapes[r]; ok {
		return s
	}
	if r < ' ' {
		return fmt.Sprintf(`\u%04x`, r)
	}
	return string(r)
}

// parseValue reads one JSON value.
func parseValue(src []byte) (value, error) {
	if len(src) > MaxSource {
		return value{}, &LimitError{What: "bytes of schema", Limit: MaxSource, Got: len(src)}
	}
	if !utf8.Valid(src) {
		return value{}, errors.New("the schema is not valid UTF-8")
	}
	r := valueReader{dec: json.NewDecoder(bytes.NewReader(src))}
	r.dec.UseNumber()
	v, err := r.next("")
	if err != nil {
		return value{}, err
	}
	if _, err := r.dec.Token(); err != io.EOF {
		return value{}, errors.New("something follows the schema")
	}
	return v, nil
}

type valueReader struct {
	dec   *json.Decoder
	depth int
}

func (r *valueReader) next(at string) (value, error) {
	tok, err := r.token(at)
	if err != nil {
		return value{}, err
	}
	switch t := tok.(type) {
	case json.Delim:
		if r.depth++; r.depth > MaxNesting {
			return value{}, &SchemaError{Err: &LimitError{What: "levels of JSON", Limit: MaxNesting, Got: r.depth}}
		}
		defer func() { r.depth-- }()
		if t == '[' {
			return r.array(at)
		}
		return r.object(at)
	case string:
		return value{kind: kindString, text: t}, nil
	case json.Number:
		return value{kind: kindNumber, text: t.String()}, nil
	case bool:
		return value{kind: kindBool, text: fmt.Sprint(t)}, nil
	}
	return value{kind: kindNull, text: "null"}, nil
}

func (r *valueReader) array(at string) (value, error) {
	v := value{kind: kindArray}
	for r.dec.More() {
		x, err := r.next(fmt.Sprintf("%s/%d", at, len(v.items)))
		if err != nil {
			return value{}, err
		}
		v.items = append(v.items, x)
	}
	return v, r.end(at)
}

func (r *valueReader) object(at string) (value, error) {
	v := value{kind: kindObject}
	seen := map[string]bool{}
	for r.dec.More() {
		name, err := r.next(at)
		if err != nil {
			return value{}, err
		}
		to := at + "/" + escapePointer(name.text)
		if seen[name.text] {
			return value{}, &SchemaError{Pointer: to, Reason: "stands twice in one object"}
		}
		seen[name.text] = true
		x, err := r.next(to)
		if err != nil {
			return value{}, err
		}
		v.fields, v.items = append(v.fields, name.text), append(v.items, x)
	}
	return v, r.end(at)
}

func (r *valueReader) end(at string) error {
	_, err := r.token(at)
	return err
}

func (r *valueReader) token(at string) (json.Token, error) {
	tok, err := r.dec.Token()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, &SchemaError{Pointer: at, Err: fmt.Errorf("read JSON: %w", err)}
	}
	return tok, nil
}

func escapePointer(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}
