package ipc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
)

// maxTools is how many tools a request may have.
const maxTools = 256

// toolName is what a tool may be called.
var toolName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// decodeTools reads the tools of a chat and which of them may or must be called.
// g is what the answer must match otherwise.
func decodeTools(o *object, g *Grammar) *Tools {
	parallel := o.bool("parallel_tool_calls", true)
	t := &Tools{}
	if raw, ok := o.get("tools"); ok {
		t.JSON = bytes.Clone(raw)
		t.Functions = toolList(o, raw, decodeTool)
	}
	decodeToolChoice(o, t, parallel)
	return usableTools(o, t, g)
}

// usableTools is nil when no tool may be called.
func usableTools(o *object, t *Tools, g *Grammar) *Tools {
	switch {
	case o.err != nil || len(t.Functions) == 0:
		return nil
	case g != nil:
		o.fail("tools", "are not possible together with %s: both say what the answer must match; set tool_choice to none, or leave one out", g.Field)
		return nil
	}
	return t
}

// toolList reads an array of tools, each with decode.
func toolList(o *object, raw json.RawMessage, decode func(*object) Function) []Function {
	var list []Function
	isArray := elements(raw, func(i int, raw json.RawMessage) bool {
		name := fmt.Sprintf("tools[%d]", i)
		x, err := newObject(raw, name, name+".")
		if err != nil {
			o.err = err
			return false
		}
		f := decode(x)
		switch {
		case x.err != nil:
			o.err = x.err
		case len(list) == maxTools:
			o.fail("tools", "has more than %d tools", maxTools)
		case slices.ContainsFunc(list, func(other Function) bool { return other.Name == f.Name }):
			o.fail("tools", "has two tools named %s", f.Name)
		}
		list = append(list, f)
		return o.err == nil
	})
	if !isArray {
		o.fail("tools", "must be an array of tools, got %s", show(raw))
	}
	return list
}

// decodeTool reads {"type": "function", "function": {...}}.
func decodeTool(x *object) Function {
	wantKind(x, "function")
	raw, ok := x.get("function")
	if !ok {
		x.fail("function", `is required: {"name": ..., "parameters": {...}}`)
		return Function{}
	}
	f, err := newObject(raw, x.path+"function", x.path+"function.")
	if err != nil {
		x.err = err
		return Function{}
	}
	fn := decodeFunction(f, "parameters")
	x.err = f.err
	return fn
}

// wantKind refuses a type other than want, which may be left out.
func wantKind(x *object, want string) {
	if kind, ok := x.string("type"); ok && kind != want {
		x.fail("type", "%s is not supported by this server; only %s is", show(x.fields["type"]), want)
	}
}

// decodeFunction reads what all forms of a tool have in common.
func decodeFunction(f *object, schema string) Function {
	var fn Function
	name, ok := f.string("name")
	switch {
	case !ok:
		f.fail("name", "is required: a string")
	case !toolName.MatchString(name):
		f.fail("name", "must be 1 to 64 letters, digits, _, - and ., got %s", show(f.fields["name"]))
	}
	fn.Name = name
	f.string("description")
	f.bool("strict", true)
	if raw, ok := f.get(schema); ok {
		if raw[0] != '{' {
			f.fail(schema, "must be a JSON schema of an object, got %s", show(raw))
		}
		fn.Parameters = bytes.Clone(raw)
	}
	return fn
}

// decodeToolChoice reads tool_choice: none, auto, required, or one function by name.
func decodeToolChoice(o *object, t *Tools, parallel bool) {
	raw, ok := o.get("tool_choice")
	if !ok {
		return
	}
	choice := ""
	named := false
	if raw[0] == '{' {
		choice, named = namedChoice(o, raw), true
	} else {
		choice, _ = o.string("tool_choice")
	}
	if o.err != nil {
		return
	}
	applyToolChoice(o, t, choice, named, parallel)
}

// applyToolChoice leaves in t what may be called.
func applyToolChoice(o *object, t *Tools, choice string, named, parallel bool) {
	switch {
	case named:
		i := slices.IndexFunc(t.Functions, func(f Function) bool { return f.Name == choice })
		if i < 0 {
			o.fail("tool_choice", "names the tool %q, which is not in tools", choice)
			return
		}
		t.Functions, t.Must, t.Single = t.Functions[i:i+1], true, true
	case choice == "none":
		t.Functions = nil
	case choice == "auto":
	case choice == "required":
		if len(t.Functions) == 0 {
			o.fail("tool_choice", "is required, but there are no tools")
		}
		t.Must, t.Single = true, !parallel
	default:
		o.fail("tool_choice", "must be none, auto, required or a function by name, got %s", show(o.fields["tool_choice"]))
	}
}

// namedChoice reads {"type": "function", "function": {"name": ...}}, or the same
// without the inner object.
func namedChoice(o *object, raw json.RawMessage) string {
	c, err := newObject(raw, "tool_choice", "tool_choice.")
	if err != nil {
		o.err = err
		return ""
	}
	wantKind(c, "function")
	if inner, ok := c.get("function"); ok {
		if c, err = newObject(inner, "tool_choice.function", "tool_choice.function."); err != nil {
			o.err = err
			return ""
		}
	}
	name, ok := c.string("name")
	if !ok {
		c.fail("name", "is required: a string")
	}
	o.err = c.err
	return name
}

// refuseTools refuses the fields of tools where there are no messages.
func refuseTools(o *object) {
	for field, neutral := range map[string]string{"parallel_tool_calls": "true", "tool_choice": `"none"`, "tools": "[]"} {
		if raw, ok := o.get(field); ok && !sameJSON(raw, neutral) {
			o.fail(field, "is not supported for raw prompts, got %s; use /v1/chat/completions", show(raw))
		}
	}
}
