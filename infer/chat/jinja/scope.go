package jinja

// scope is a frame of names. Jinja2 opens one for the template, every loop
// iteration, macro call, with block and captured block, but not for if.
type scope struct {
	parent *scope
	few    []binding      // in a scope of at most maxFew names
	many   map[string]any // in a larger one
	buf    [3]binding     // first backing of few: most loop bodies need no more
}

type binding struct {
	name string
	val  any
}

// maxFew is where searching a list of names gets slower than a map.
const maxFew = 12

func newScope(vars map[string]any) *scope { return &scope{many: vars} }

func (s *scope) child() *scope {
	c := &scope{parent: s}
	c.few = c.buf[:0]
	return c
}

func (s *scope) set(name string, v any) {
	if s.many != nil {
		s.many[name] = v
		return
	}
	for i := range s.few {
		if s.few[i].name == name {
			s.few[i].val = v
			return
		}
	}
	if len(s.few) < maxFew {
		s.few = append(s.few, binding{name, v})
		return
	}
	s.many = map[string]any{name: v}
	for _, b := range s.few {
		s.many[b.name] = b.val
	}
	s.few = nil
}

func (s *scope) lookup(name string) any {
	for ; s != nil; s = s.parent {
		for i := range s.few {
			if s.few[i].name == name {
				return s.few[i].val
			}
		}
		if v, ok := s.many[name]; ok {
			return v
		}
	}
	if v, ok := globals[name]; ok {
		return v
	}
	return undefinedf("'%s' is undefined", name)
}
