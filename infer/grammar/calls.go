package grammar

import "fmt"

// Call is a function that an output may call.
type Call struct {
	Name   string
	Schema []byte // JSON schema of its arguments
}

// Frame is what stands around the parts of a call: Open, name, Middle,
// arguments, Close. Between stands between two calls.
type Frame struct{ Open, Middle, Close, Between string }

// FromCalls is the grammar of one to most calls of any of the functions. The
// arguments of each are valid as FromSchema says.
func FromCalls(f Frame, calls []Call, most int) (*Grammar, error) {
	c := &schemaCompiler{}
	c.basics = newBasics(&c.rules)
	var any alt
	for _, x := range calls {
		arguments, err := c.another(x.Schema)
		if err != nil {
			return nil, fmt.Errorf("the parameters of %s: %w", x.Name, err)
		}
		any = append(any, seq{literal(f.Open + x.Name + f.Middle), arguments, literal(f.Close)})
	}
	one := c.add("call", any)
	root := c.add("calls", seq{one, repeat{seq{literal(f.Between), one}, 0, most - 1}})
	g, err := compile(c.rules, root.rule)
	if err != nil {
		return nil, err
	}
	all := newCosts(g, func(s byteSpan) (byte, bool) { return s.lo, true })
	if all.cost[g.starts[g.root]] >= never {
		return nil, &SchemaError{Reason: "no finite value is valid"}
	}
	return g, nil
}

// another compiles one more schema beside those that are there.
func (c *schemaCompiler) another(src []byte) (expr, error) {
	root, err := parseValue(src)
	if err != nil {
		return nil, err
	}
	c.root, c.refs = root, map[string]int{}
	start := c.ref("")
	return start, c.compileRefs()
}

// compileRefs gives every rule of a reference its body.
func (c *schemaCompiler) compileRefs() error {
	for len(c.todo) > 0 {
		p := c.todo[0]
		c.todo = c.todo[1:]
		v, err := c.lookup(p)
		if err != nil {
			return err
		}
		body, err := c.schema(v, p)
		if err != nil {
			return err
		}
		c.rules[c.refs[p]].body = body
	}
	return nil
}
