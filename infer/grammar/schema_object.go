package grammar

import (
	"slices"
	"strconv"
	"unicode/utf8"
)

// property is a declared or required member.
type property struct {
	name     string
	required bool
	of       expr
}

// objectOf compiles the object keywords of a schema.
func (c *schemaCompiler) objectOf(v value, at string) (expr, error) {
	props, err := c.properties(v, at)
	if err != nil {
		return nil, err
	}
	extra := c.extra(v, at, len(props) > 0)
	room, err := memberRoom(v, at, props)
	if err != nil {
		return nil, err
	}
	if room == 0 {
		extra = nil
	}
	if len(props) == 0 && room < 0 && extra == expr(c.value) {
		return c.object, nil
	}
	var more expr // one member that is not declared
	if extra != nil {
		names := notWords{}
		for _, p := range props {
			names.words = append(names.words, p.name)
		}
		more = c.add("#"+at+" further member", seq{names, literal(":"), c.space, extra})
	}
	return seq{literal("{"), c.space, c.members(props, more, room, at), literal("}")}, nil
}

// properties lists the members that a schema declares or requires.
func (c *schemaCompiler) properties(v value, at string) ([]property, error) {
	declared, ok := v.get("properties")
	if ok && declared.kind != kindObject {
		return nil, refuse(at+"/properties", "must be an object, not %s", declared.kind)
	}
	required, ok := v.get("required")
	if ok && required.kind != kindArray {
		return nil, refuse(at+"/required", "must be an array, not %s", required.kind)
	}
	var props []property
	index := map[string]int{}
	for i, name := range declared.fields {
		to := at + "/properties/" + escapePointer(name)
		e, err := c.schema(declared.items[i], to)
		if err != nil {
			return nil, err
		}
		index[name] = len(props)
		props = append(props, property{name: name, of: c.add("#"+to, e)})
	}
	for i, r := range required.items {
		if r.kind != kindString {
			return nil, refuse(at+"/required/"+strconv.Itoa(i), "must be a string, not %s", r.kind)
		}
		if _, ok := index[r.text]; !ok {
			// Not declared: what additionalProperties says holds for it.
			index[r.text] = len(props)
			props = append(props, property{name: r.text, of: c.additional(v, at)})
		}
		props[index[r.text]].required = true
	}
	optional := 0
	for _, p := range props {
		if !p.required {
			optional++
		}
	}
	if optional > maxOptional {
		return nil, &SchemaError{Pointer: at + "/properties", Err: &LimitError{What: "optional members of one object", Limit: maxOptional, Got: optional}}
	}
	return props, nil
}

// additional is what members must be that are not declared.
func (c *schemaCompiler) additional(v value, at string) call {
	if _, ok := v.get("additionalProperties"); ok {
		return c.ref(at + "/additionalProperties")
	}
	return c.value
}

// extra returns the value of further members, nil where none are generated: beside
// declared members only when the schema says so.
func (c *schemaCompiler) extra(v value, at string, declared bool) expr {
	x, ok := v.get("additionalProperties")
	if !ok && declared || x.kind == kindBool && x.text == "false" {
		return nil
	}
	return c.additional(v, at)
}

// memberRoom returns how many members there may be beside the declared ones, -1
// without limit.
func memberRoom(v value, at string, props []property) (int, error) {
	least, err := countOf(v, at, "minProperties", 0)
	if err != nil {
		return 0, err
	}
	most, err := countOf(v, at, "maxProperties", -1)
	if err != nil {
		return 0, err
	}
	required := 0
	for _, p := range props {
		if p.required {
			required++
		}
	}
	switch {
	case least > required:
		return 0, refuse(at+"/minProperties", "minProperties is supported up to the number of required members: it is %d, and %d are required", least, required)
	case most < 0:
		return -1, nil
	case most < len(props):
		return 0, refuse(at+"/maxProperties", "maxProperties is supported from the number of declared members on: it is %d, and %d are declared", most, len(props))
	}
	return most - len(props), nil
}

// countOf reads a keyword whose value is a number of things.
func countOf(v value, at, keyword string, absent int) (int, error) {
	x, ok := v.get(keyword)
	if !ok {
		return absent, nil
	}
	r, ok := parseNumber(x.text)
	if x.kind != kindNumber || !ok || !r.IsInt() || r.Sign() < 0 {
		return 0, refuse(at+"/"+keyword, "must be a whole number from 0, not %.40s", x.json(nil))
	}
	if !r.Num().IsInt64() || r.Num().Int64() > MaxRepeat {
		return 0, refuse(at+"/"+keyword, "%.40s exceeds the limit of %d", x.text, MaxRepeat)
	}
	return int(r.Num().Int64()), nil
}

// members returns what stands between the braces. Every member is a rule that
// goes on with the next ones, built from the last to the first: none is what
// may come where no member has been written yet, some what may come behind one.
func (c *schemaCompiler) members(props []property, more expr, room int, at string) expr {
	comma := seq{literal(","), c.space}
	none, some := expr(seq{}), expr(c.space)
	if more != nil {
		rest := -1
		if room > 0 {
			rest = room - 1
		}
		none = opt(seq{more, repeat{seq{comma, more}, 0, rest}, c.space})
		some = seq{repeat{seq{comma, more}, 0, room}, c.space}
	}
	name := "#" + at + " members"
	for _, p := range slices.Backward(props) {
		behind := c.add(name, some)
		pair := c.add(name, seq{literal(quote(p.name) + ":"), c.space, p.of, behind})
		next, first := expr(seq{comma, pair}), expr(pair)
		if !p.required {
			next = alt{next, behind}
			first = alt{first, c.add(name, none)}
		}
		some, none = next, first
	}
	return none
}

// notWords is a string without escapes that is none of words.
type notWords struct{ words []string }

// notWords builds a trie of the words by characters; leaving it anywhere is
// what makes a string different.
func (b *builder) notWords(n notWords, from int32) int32 {
	rest, end := b.state(), b.state()
	start := b.build(literal(`"`), from)
	b.skip(b.build(plain, rest), rest)
	b.edge(rest, byteSpan{'"', '"'}, end)
	type node struct {
		children map[rune]*node
		word     bool
	}
	root := &node{}
	for _, w := range n.words {
		at := root
		for _, r := range w {
			if at.children == nil {
				at.children = map[rune]*node{}
			}
			if at.children[r] == nil {
				at.children[r] = &node{}
			}
			at = at.children[r]
		}
		at.word = true
	}
	type place struct {
		n  *node
		at int32
	}
	for todo := []place{{root, start}}; len(todo) > 0 && b.err == nil; {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !p.n.word {
			b.edge(p.at, byteSpan{'"', '"'}, end)
		}
		var known []span
		for r := range p.n.children {
			known = append(known, span{r, r})
		}
		b.skip(b.build(plain.minus(normal(known)), p.at), rest)
		for _, s := range normal(known) {
			for r := s.lo; r <= s.hi; r++ {
				if utf8.RuneLen(r) > 0 && len(plain.intersect(runes{{r, r}})) > 0 {
					todo = append(todo, place{p.n.children[r], b.build(runes{{r, r}}, p.at)})
				}
			}
		}
	}
	return end
}
