package grammar

import (
	"slices"
	"strconv"
)

// arrayOf compiles the array keywords of a schema.
func (c *schemaCompiler) arrayOf(v value, at string) (expr, error) {
	if x, ok := v.get("uniqueItems"); ok && !(x.kind == kindBool && x.text == "false") {
		return nil, refuse(at+"/uniqueItems", "uniqueItems is not supported, only false is accepted")
	}
	first, rest, err := c.elements(v, at)
	if err != nil {
		return nil, err
	}
	least, err := countOf(v, at, "minItems", 0)
	if err != nil {
		return nil, err
	}
	most, err := countOf(v, at, "maxItems", -1)
	if err != nil {
		return nil, err
	}
	if rest == nil { // no more than minItems asks for: a tuple
		rest = c.value
		if limit := max(len(first), least); most < 0 || most > limit {
			most = limit
		}
	}
	if most >= 0 && least > most {
		return alt{}, nil
	}
	return seq{literal("["), c.space, c.tuple(first, c.add("#"+at+" element", rest), least, most, at), literal("]")}, nil
}

// elements returns the schemas of the first elements and that of all others,
// nil when the schema leaves those open and names first ones.
func (c *schemaCompiler) elements(v value, at string) (first []expr, rest expr, err error) {
	list, others := "prefixItems", "items"
	if x, _ := v.get("items"); x.kind == kindArray { // as up to draft 2019-09
		list, others = "items", "additionalItems"
	}
	if x, ok := v.get(list); ok {
		if x.kind != kindArray {
			return nil, nil, refuse(at+"/"+list, "must be an array, not %s", x.kind)
		}
		for i, s := range x.items {
			e, err := c.schema(s, at+"/"+list+"/"+strconv.Itoa(i))
			if err != nil {
				return nil, nil, err
			}
			first = append(first, e)
		}
	}
	x, ok := v.get(others)
	switch {
	case ok:
		rest, err = c.schema(x, at+"/"+others)
	case len(first) == 0:
		rest = c.value
	}
	return first, rest, err
}

// tuple returns what stands between the brackets: least to most elements, the
// first ones each of its own kind.
func (c *schemaCompiler) tuple(first []expr, rest call, least, most int, at string) expr {
	comma := seq{literal(","), c.space}
	if most == 0 {
		return seq{}
	}
	n := len(first)
	if most >= 0 && n > most {
		n = most
	}
	if n == 0 {
		more := -1
		if most > 0 {
			more = most - 1
		}
		e := seq{rest, repeat{seq{comma, rest}, max(least-1, 0), more}, c.space}
		if least == 0 {
			return opt(e)
		}
		return e
	}
	more := -1
	if most >= 0 {
		more = most - n
	}
	var tail expr = seq{repeat{seq{comma, rest}, max(least-n, 0), more}, c.space}
	name := "#" + at + " elements"
	for i, e := range slices.Backward(first[:n]) {
		if i == n-1 {
			tail = c.add(name, tail)
		}
		with := seq{e, tail}
		if i > 0 {
			with = seq{comma, e, tail}
		}
		switch {
		case i >= least && i > 0:
			tail = c.add(name, alt{c.space, with})
		case i >= least:
			tail = opt(with)
		default:
			tail = c.add(name, with)
		}
	}
	return tail
}
