package grammar

import (
	"fmt"
	"math/big"
	"slices"
)

// enum compiles enum and const: the texts of their values.
func (c *schemaCompiler) enum(v value, at string) (expr, error) {
	list, keyword, err := enumerated(v, at)
	if err != nil {
		return nil, err
	}
	if len(list) > maxEnum {
		return nil, &SchemaError{Pointer: at + "/" + keyword, Err: &LimitError{What: "values of one enum", Limit: maxEnum, Got: len(list)}}
	}
	kinds, integer, err := c.kinds(v, at)
	if err != nil {
		return nil, err
	}
	if _, ok := v.get("type"); !ok {
		kinds = allKinds
	}
	var out words
	for _, x := range list {
		if slices.Contains(kinds, x.kind) && (x.kind != kindNumber || !integer || isInteger(x.text)) {
			out = append(out, string(x.json(nil)))
		}
	}
	return out, nil
}

// enumerated returns the values of enum or const.
func enumerated(v value, at string) (list []value, keyword string, err error) {
	if x, ok := v.get("const"); ok {
		if _, both := v.get("enum"); both {
			return nil, "", refuse(at+"/const", "const is not supported beside enum")
		}
		return []value{x}, "const", nil
	}
	x, _ := v.get("enum")
	if x.kind != kindArray {
		return nil, "", refuse(at+"/enum", "must be an array, not %s", x.kind)
	}
	return x.items, "enum", nil
}

func isInteger(number string) bool {
	r, ok := parseNumber(number)
	return ok && r.IsInt()
}

// maxExponent keeps numbers of a schema from becoming gigabytes of digits.
const maxExponent = 400

// parseNumber reads a JSON number exactly.
func parseNumber(text string) (*big.Rat, bool) {
	exp := 0
	for i := range len(text) {
		if text[i] == 'e' || text[i] == 'E' {
			if _, err := fmt.Sscanf(text[i+1:], "%d", &exp); err != nil || exp > maxExponent || exp < -maxExponent {
				return nil, false
			}
		}
	}
	return new(big.Rat).SetString(text)
}

// options compiles the schemas of anyOf, oneOf or allOf.
func (c *schemaCompiler) options(v value, at, keyword string) (list []value, out alt, err error) {
	x, _ := v.get(keyword)
	at += "/" + keyword
	if x.kind != kindArray || len(x.items) == 0 {
		return nil, nil, refuse(at, "must be an array with at least one schema")
	}
	for i, s := range x.items {
		e, err := c.schema(s, fmt.Sprintf("%s/%d", at, i))
		if err != nil {
			return nil, nil, err
		}
		out = append(out, e)
	}
	return x.items, out, nil
}

func (c *schemaCompiler) anyOf(v value, at string) (expr, error) {
	_, out, err := c.options(v, at, "anyOf")
	return out, err
}

// oneOf is supported where no value can be valid against two of its schemas.
func (c *schemaCompiler) oneOf(v value, at string) (expr, error) {
	list, out, err := c.options(v, at, "oneOf")
	if err != nil {
		return nil, err
	}
	if len(list) > maxOneOf {
		return nil, &SchemaError{Pointer: at + "/oneOf", Err: &LimitError{What: "schemas of one oneOf", Limit: maxOneOf, Got: len(list)}}
	}
	for i := range list {
		for j := range i {
			if !c.disjoint(list[i], list[j], 0) {
				return nil, refuse(fmt.Sprintf("%s/oneOf/%d", at, i),
					"oneOf is supported where types, enums or required members with different enums tell its schemas apart; this one may overlap with schema %d: use anyOf", j)
			}
		}
	}
	return out, nil
}

// maxOneOf bounds the pairs that are compared.
const maxOneOf = 64

func (c *schemaCompiler) allOf(v value, at string) (expr, error) {
	list, out, err := c.options(v, at, "allOf")
	if err == nil && len(list) > 1 {
		err = refuse(at+"/allOf", "allOf is supported with one schema, not %d", len(list))
	}
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// maxFollow is how many references are followed to compare two schemas.
const maxFollow = 16

// follow resolves a schema that is nothing but a reference.
func (c *schemaCompiler) follow(v value) value {
	for range maxFollow {
		r, ok := v.get("$ref")
		if !ok {
			return v
		}
		to, err := resolve(r)
		if err != nil {
			return v
		}
		if v, err = c.lookup(to); err != nil {
			return value{}
		}
	}
	return v
}

// disjoint says whether it is certain that no value is valid against both.
func (c *schemaCompiler) disjoint(a, b value, depth int) bool {
	a, b = c.follow(a), c.follow(b)
	if depth > maxFollow {
		return false
	}
	if a.kind == kindBool && a.text == "false" || b.kind == kindBool && b.text == "false" {
		return true
	}
	if a.kind != kindObject || b.kind != kindObject {
		return false
	}
	ka, kb := typesOf(a), typesOf(b)
	if ka == nil || kb == nil {
		return false
	}
	if !slices.ContainsFunc(ka, func(k kind) bool { return slices.Contains(kb, k) }) {
		return true
	}
	if va, vb := valuesOf(a), valuesOf(b); va != nil && vb != nil {
		return !slices.ContainsFunc(va, func(x string) bool { return slices.Contains(vb, x) })
	}
	if len(ka) != 1 || len(kb) != 1 || ka[0] != kindObject {
		return false
	}
	for _, name := range stringsOf(a, "required") {
		pa, _ := a.get("properties")
		pb, _ := b.get("properties")
		xa, oka := pa.get(name)
		xb, okb := pb.get(name)
		if oka && okb && slices.Contains(stringsOf(b, "required"), name) && c.disjoint(xa, xb, depth+1) {
			return true
		}
	}
	return false
}

// typesOf returns the types that a schema allows at most, nil when it does not
// tell. It is not exact, but never too small.
func typesOf(v value) []kind {
	if list := literalsOf(v); list != nil {
		var kinds []kind
		for _, x := range list {
			kinds = append(kinds, x.kind)
		}
		return kinds
	}
	t, ok := v.get("type")
	if !ok {
		return nil
	}
	names := []value{t}
	if t.kind == kindArray {
		names = t.items
	}
	var kinds []kind
	for _, n := range names {
		k := kind(n.text)
		if k == "integer" {
			k = kindNumber
		}
		kinds = append(kinds, k)
	}
	return kinds
}

// literalsOf returns the values of enum or const, nil when there are neither.
func literalsOf(v value) []value {
	if x, ok := v.get("const"); ok {
		return []value{x}
	}
	x, _ := v.get("enum")
	return x.items
}

// valuesOf returns the texts of the values of enum or const where equal values
// have equal texts: strings, booleans and null. Otherwise it returns nil.
func valuesOf(v value) []string {
	var out []string
	for _, x := range literalsOf(v) {
		if x.kind == kindNumber || x.kind == kindArray || x.kind == kindObject {
			return nil
		}
		out = append(out, string(x.json(nil)))
	}
	return out
}

func stringsOf(v value, field string) []string {
	x, _ := v.get(field)
	var out []string
	for _, s := range x.items {
		if s.kind == kindString {
			out = append(out, s.text)
		}
	}
	return out
}
