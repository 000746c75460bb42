package chat

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// callReader reads one call of a tool, a JSON object with its name and its
// arguments, as it grows. Arguments are passed on while they are read when the
// name came before them.
type callReader struct {
	names []string // of the tools
	scan  scanner
	text  []byte // what has been read of the object

	key   string // of the member being read
	start int    // of the key or value being read, in text

	name      string
	arguments string // complete, "" while they are not
	from      int    // of the arguments, in text, while they are passed on
	passed    int    // bytes of them that were
	streaming bool   // arguments are being passed on
	began     bool   // the name has been passed on
	bad       bool   // the last byte of text was not to be expected
}

// callState is what has become of an object.
type callState uint8

const (
	callGrows callState = iota
	callDone
	callBad // it is no call of a tool; its text is all that it is
)

// nameKeys and argumentKeys are how models call the two parts.
var (
	nameKeys     = []string{"name"}
	argumentKeys = []string{"arguments", "parameters"}
)

// push takes the next byte.
func (r *callReader) push(b byte, emit func(name, arguments string)) callState {
	before := r.scan.state
	ev := r.scan.step(b)
	if ev&notJSON != 0 {
		r.text, r.bad = append(r.text, b), true
		return callBad
	}
	if ev&valueEnded != 0 && !r.member(len(r.text)) {
		r.text = append(r.text, b)
		return callBad
	}
	at := len(r.text)
	r.text = append(r.text, b)
	switch {
	case before != scanString && r.scan.state == scanString && len(r.scan.stack) == 1 && r.scan.key && before != scanEscape && before != scanHex:
		r.start = at
	case ev&keyEnds != 0:
		if json.Unmarshal(r.text[r.start:], &r.key) != nil {
			return callBad
		}
	case ev&valueBegins != 0:
		r.start = at
		if b == '{' && r.name != "" && r.arguments == "" && slices.Contains(argumentKeys, r.key) {
			r.streaming, r.from = true, at
		}
	case ev&valueEnds != 0:
		if !r.member(len(r.text)) {
			return callBad
		}
	case ev&objectEnds != 0:
		return r.end(emit)
	}
	return callGrows
}

// member takes a complete member whose value ends at an offset in text, and
// reports whether the object may still be a call.
func (r *callReader) member(end int) bool {
	value := r.text[r.start:end]
	switch {
	case slices.Contains(nameKeys, r.key):
		if r.name != "" || json.Unmarshal(value, &r.name) != nil {
			return false
		}
		return slices.Contains(r.names, r.name)
	case slices.Contains(argumentKeys, r.key):
		if r.arguments != "" {
			return false
		}
		r.arguments = string(value)
		return true
	}
	return true
}

// flow passes on what has been read of the arguments since the last call.
func (r *callReader) flow(emit func(name, arguments string)) {
	if !r.streaming {
		return
	}
	end := len(r.text)
	switch {
	case r.arguments != "": // they have ended
		end = r.from + len(r.arguments)
	case r.bad:
		end--
	}
	if fresh := r.text[r.from+r.passed : end]; len(fresh) > 0 {
		emit(r.first(), string(fresh))
		r.passed = end - r.from
	}
	r.streaming = r.arguments == ""
}

// first is the name, the first time.
func (r *callReader) first() string {
	if r.began {
		return ""
	}
	r.began = true
	return r.name
}

// end passes on what is left of a complete object.
func (r *callReader) end(emit func(name, arguments string)) callState {
	r.flow(emit)
	if r.name == "" {
		return callBad
	}
	if r.began {
		return callDone
	}
	arguments, ok := objectOf(r.arguments)
	if !ok {
		return callBad
	}
	emit(r.first(), arguments)
	return callDone
}

// objectOf is the object that arguments are, or that they spell out as a string.
func objectOf(arguments string) (string, bool) {
	var inner string
	switch {
	case arguments == "" || arguments == "null":
		return "{}", true
	case arguments[0] == '{':
		return arguments, true
	case json.Unmarshal([]byte(arguments), &inner) != nil:
		return "", false
	}
	inner = strings.TrimSpace(inner)
	return inner, strings.HasPrefix(inner, "{") && json.Valid(bytes.TrimSpace([]byte(inner)))
}
