package grammar

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// FromSchema compiles a JSON schema: every output of the grammar is valid
// against it. Not everything that is valid is an output: members come in the
// order in which the schema declares them, for instance, and objects with
// declared properties have no others unless additionalProperties asks for them.
// A keyword that would change what is valid and is not supported is an error.
func FromSchema(src []byte) (*Grammar, error) {
	root, err := parseValue(src)
	if err != nil {
		return nil, err
	}
	c := &schemaCompiler{root: root, refs: map[string]int{}}
	c.basics = newBasics(&c.rules)
	start := c.ref("")
	if err := c.compileRefs(); err != nil {
		return nil, err
	}
	g, err := compile(c.rules, start.rule)
	if err != nil {
		return nil, &SchemaError{Err: err}
	}
	all := newCosts(g, func(s byteSpan) (byte, bool) { return s.lo, true })
	if all.cost[g.starts[g.root]] >= never {
		return nil, &SchemaError{Reason: "no finite value is valid"}
	}
	return g, nil
}

// schemaCompiler turns schemas into rules. Rules of references are compiled one
// after the other, so that recursion in a schema is recursion in the grammar.
type schemaCompiler struct {
	basics
	root  value
	rules []rule
	refs  map[string]int // rule by JSON pointer
	todo  []string       // pointers of rules without a body
}

// Keywords that say nothing about what is valid.
var annotations = []string{
	"$comment", "$defs", "$schema", "contentEncoding", "contentMediaType", "contentSchema", "default", "definitions",
	"deprecated", "description", "discriminator", "example", "examples", "readOnly", "title", "writeOnly",
}

// Keywords by the type that they constrain.
var keywords = map[kind][]string{
	kindObject: {"properties", "required", "additionalProperties", "minProperties", "maxProperties"},
	kindArray:  {"items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems"},
	kindString: {"minLength", "maxLength", "pattern", "format"},
	kindNumber: {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
}

// allKinds in the order in which alternatives are tried; order has no effect on
// what is allowed.
var allKinds = []kind{kindObject, kindArray, kindString, kindNumber, kindBool, kindNull}

func refuse(at, format string, args ...any) error {
	return &SchemaError{Pointer: at, Reason: fmt.Sprintf(format, args...)}
}

// ref returns the rule of the schema at a pointer.
func (c *schemaCompiler) ref(pointer string) call {
	i, ok := c.refs[pointer]
	if !ok {
		i = len(c.rules)
		c.rules = append(c.rules, rule{name: "#" + pointer})
		c.refs[pointer] = i
		c.todo = append(c.todo, pointer)
	}
	return call{i}
}

func (c *schemaCompiler) add(name string, body expr) call {
	c.rules = append(c.rules, rule{name, body})
	return call{len(c.rules) - 1}
}

// lookup finds the value at a pointer.
func (c *schemaCompiler) lookup(pointer string) (value, error) {
	v := c.root
	if pointer == "" {
		return v, nil
	}
	for _, part := range strings.Split(pointer, "/")[1:] {
		name := strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")
		var ok bool
		switch v.kind {
		case kindObject:
			v, ok = v.get(name)
		case kindArray:
			if i, err := strconv.Atoi(part); err == nil && i >= 0 && i < len(v.items) {
				v, ok = v.items[i], true
			}
		}
		if !ok {
			return value{}, refuse(pointer, "there is nothing at this place of the schema, but a $ref points there")
		}
	}
	return v, nil
}

// schema compiles one schema.
func (c *schemaCompiler) schema(v value, at string) (expr, error) {
	switch {
	case v.kind == kindBool && v.text == "true":
		return c.value, nil
	case v.kind == kindBool:
		return alt{}, nil
	case v.kind != kindObject:
		return nil, refuse(at, "a schema must be an object or a boolean, not %s", v.kind)
	}
	if err := c.known(v, at); err != nil {
		return nil, err
	}
	for _, whole := range []struct {
		keyword string
		with    []string
		compile func(v value, at string) (expr, error)
	}{
		{"$ref", nil, c.reference},
		{"enum", []string{"type"}, c.enum},
		{"const", []string{"type"}, c.enum},
		{"anyOf", nil, c.anyOf},
		{"oneOf", nil, c.oneOf},
		{"allOf", nil, c.allOf},
	} {
		if _, ok := v.get(whole.keyword); !ok {
			continue
		}
		for _, f := range v.fields {
			if f != whole.keyword && !isAnnotation(f) && !slices.Contains(whole.with, f) {
				return nil, refuse(at+"/"+escapePointer(f), "%s is not supported beside %s", f, whole.keyword)
			}
		}
		return whole.compile(v, at)
	}
	return c.typed(v, at)
}

func isAnnotation(f string) bool {
	return slices.Contains(annotations, f) || strings.HasPrefix(f, "x-") || f == "$id"
}

// known refuses keywords that are not supported.
func (c *schemaCompiler) known(v value, at string) error {
	for i, f := range v.fields {
		to := at + "/" + escapePointer(f)
		switch {
		case f == "$id" && at != "":
			return refuse(to, "$id is supported at the root only")
		case slices.Contains([]string{"type", "$ref", "enum", "const", "anyOf", "oneOf", "allOf"}, f), isAnnotation(f):
		case f == "multipleOf" && v.items[i].kind == kindNumber && v.items[i].text == "1" && integersOnly(v):
		case !slices.ContainsFunc(allKinds, func(k kind) bool { return slices.Contains(keywords[k], f) }):
			return refuse(to, "the keyword %s is not supported", f)
		}
	}
	return nil
}

// integersOnly says whether the only numbers of a schema are integers.
func integersOnly(v value) bool {
	t, _ := v.get("type")
	return t.text == "integer"
}

// typed compiles a schema as the union of its types.
func (c *schemaCompiler) typed(v value, at string) (expr, error) {
	kinds, integer, err := c.kinds(v, at)
	if err != nil {
		return nil, err
	}
	var out alt
	for _, k := range kinds {
		var e expr
		switch k {
		case kindObject:
			e, err = c.objectOf(v, at)
		case kindArray:
			e, err = c.arrayOf(v, at)
		case kindString:
			e, err = c.stringOf(v, at)
		case kindNumber:
			e, err = c.numberOf(v, at, integer)
		case kindBool:
			e = alt{literal("true"), literal("false")}
		case kindNull:
			e = literal("null")
		}
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	if len(out) == 1 {
		return out[0], nil
	}
	return out, nil
}

// kinds returns the types that a schema allows. Where it names none, its
// keywords tell which it is about.
func (c *schemaCompiler) kinds(v value, at string) (kinds []kind, integer bool, err error) {
	t, ok := v.get("type")
	if !ok {
		for _, k := range allKinds {
			if slices.ContainsFunc(v.fields, func(f string) bool { return slices.Contains(keywords[k], f) }) {
				kinds = append(kinds, k)
			}
		}
		if len(kinds) == 0 {
			kinds = allKinds
		}
		return kinds, false, nil
	}
	names := []value{t}
	if t.kind == kindArray {
		names = t.items
	}
	number := false
	for _, n := range names {
		k := kind(n.text)
		switch {
		case n.kind == kindString && k == "integer":
			integer, k = true, kindNumber
		case n.kind != kindString || !slices.Contains(allKinds, k):
			return nil, false, refuse(at+"/type", "%s is no type", n.json(nil))
		case k == kindNumber:
			number = true
		}
		if !slices.Contains(kinds, k) {
			kinds = append(kinds, k)
		}
	}
	if len(kinds) == 0 {
		return nil, false, refuse(at+"/type", "must name at least one type")
	}
	return kinds, integer && !number, nil
}

func (c *schemaCompiler) reference(v value, at string) (expr, error) {
	r, _ := v.get("$ref")
	to, err := resolve(r)
	if err != nil {
		return nil, refuse(at+"/$ref", "%v", err)
	}
	if _, err := c.lookup(to); err != nil {
		return nil, refuse(at+"/$ref", "%s points to nothing in this schema", r.text)
	}
	return c.ref(to), nil
}

// resolve turns a reference into a pointer into the same schema.
func resolve(r value) (string, error) {
	if r.kind != kindString {
		return "", fmt.Errorf("$ref must be a string, not %s", r.kind)
	}
	fragment, ok := strings.CutPrefix(r.text, "#")
	if !ok {
		return "", fmt.Errorf("only references into the schema itself (#/...) are supported, not %.80q", r.text)
	}
	p, err := url.PathUnescape(fragment)
	if err != nil {
		return "", errors.New("the reference is no valid URI fragment")
	}
	if p != "" && p[0] != '/' {
		return "", fmt.Errorf("references by anchor are not supported: %.80q", r.text)
	}
	return p, nil
}
