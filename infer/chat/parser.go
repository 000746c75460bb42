package chat

import (
	"slices"
	"strings"
)

// Fragment is a piece of an answer: text, or a piece of a call.
type Fragment struct {
	Text string

	Call      int    // index of the call, from 0, when Text is ""
	Name      string // in the first fragment of a call only
	Arguments string // a piece of a JSON object
}

// CallParser takes the calls of tools out of a model's answer as it grows. What
// is not a well-formed call of one of the tools is text, byte for byte; space
// around calls is dropped. A call whose arguments have begun to be passed on and
// that breaks off stays as it is: its arguments are not whole then.
type CallParser struct {
	n     notation
	names []string

	place  place
	held   []byte // text that may become a fence, or space that calls would swallow
	fence  fence  // that is open
	opened []byte // text of the fence and what was skipped in it, to give it back
	inside bool   // a call has been read since the fence was opened
	reader *callReader
	calls  int
	began  bool // the answer has something else than space
	out    []Fragment
}

type place uint8

const (
	inText place = iota
	inThought
	inFence // between calls
	inCall
	afterCall // of a bare one, between calls
)

const (
	thoughtBegins = "<think>"
	thoughtEnds   = "</think>"
)

// NewCallParser returns a parser for calls of the named tools.
func NewCallParser(style ToolStyle, names []string) *CallParser {
	return &CallParser{n: notations[style], names: names}
}

// Calls is the number of calls so far.
func (p *CallParser) Calls() int { return p.calls }

// Push takes the next piece of the answer. What it returns is valid until the
// next call.
func (p *CallParser) Push(text []byte) []Fragment {
	p.out = p.out[:0]
	for _, b := range text {
		p.step(b)
	}
	if p.reader != nil {
		p.reader.flow(p.emitCall)
	}
	return p.out
}

// Close ends the answer.
func (p *CallParser) Close() []Fragment {
	p.out = p.out[:0]
	switch p.place {
	case inCall:
		p.reader.flow(p.emitCall)
		if !p.reader.began {
			p.giveBack()
		}
	case inFence:
		if p.calls == 0 {
			p.giveBack()
		}
	}
	if p.calls == 0 || strings.TrimSpace(string(p.held)) != "" {
		p.emitText(p.held)
	}
	p.held = nil
	return p.out
}

func (p *CallParser) step(b byte) {
	switch p.place {
	case inText, inThought:
		p.text(b)
	case inFence, afterCall:
		p.between(b)
	case inCall:
		p.call(b)
	}
}

// text takes a byte outside calls, and holds back what may become a tag.
func (p *CallParser) text(b byte) {
	if p.place == inText && p.n.bare && !p.began && b == '{' {
		p.opened, p.held = append(p.opened[:0], p.held...), nil
		p.fence, p.inside = fence{}, false
		p.beginCall(b)
		return
	}
	p.began = p.began || !isSpace(b)
	p.held = append(p.held, b)
	if tag, whole := p.tag(); whole {
		p.enter(tag)
		return
	}
	p.release()
}

// tags are the texts that end the present place.
func (p *CallParser) tags() []string {
	if p.place == inThought {
		return []string{thoughtEnds}
	}
	var tags []string
	for _, f := range p.n.fences {
		tags = append(tags, f.open)
	}
	if p.n.thinks {
		tags = append(tags, thoughtBegins)
	}
	return tags
}

// tag is the tag that held ends with.
func (p *CallParser) tag() (string, bool) {
	for _, t := range p.tags() {
		if strings.HasSuffix(string(p.held), t) {
			return t, true
		}
	}
	return "", false
}

func (p *CallParser) enter(tag string) {
	switch tag {
	case thoughtBegins:
		p.place = inThought
		p.release()
		return
	case thoughtEnds:
		p.place = inText
		p.release()
		return
	}
	before := p.held[:len(p.held)-len(tag)]
	text := strings.TrimRight(string(before), " \t\r\n")
	p.emitText([]byte(text))
	p.opened = append(p.opened[:0], p.held[len(text):]...)
	p.held = nil
	i := slices.IndexFunc(p.n.fences, func(f fence) bool { return f.open == tag })
	p.fence, p.place, p.inside = p.n.fences[i], inFence, false
}

// release passes on what can no longer become a tag, nor space before one.
func (p *CallParser) release() {
	keep := 0
	held := string(p.held)
	for _, t := range p.tags() {
		for n := min(len(t)-1, len(held)); n > keep; n-- {
			if strings.HasSuffix(held, t[:n]) {
				keep = n
			}
		}
	}
	cut := len(held) - keep
	if p.place == inText && (len(p.n.fences) > 0 || !p.began) {
		cut = len(strings.TrimRight(held[:cut], " \t\r\n"))
	}
	if cut > 0 {
		p.emitText(p.held[:cut])
		p.held = append(p.held[:0], p.held[cut:]...)
	}
}

// between takes a byte before, between or after the calls of a fence.
func (p *CallParser) between(b byte) {
	p.opened = append(p.opened, b)
	rest := strings.TrimLeft(string(p.opened[p.openedTag():]), p.n.skipped)
	switch {
	case b == '{' && rest == "{":
		p.opened = p.opened[:len(p.opened)-1]
		p.beginCall(b)
	case rest == "":
	case p.fence.close != "" && rest == p.fence.close:
		if p.inside {
			p.opened = nil
			p.place = inText
		} else {
			p.giveBack()
		}
	case p.fence.close != "" && strings.HasPrefix(p.fence.close, rest):
	default:
		p.giveBack()
	}
}

// openedTag is where what follows the fence's tag begins.
func (p *CallParser) openedTag() int {
	if p.fence.open == "" || p.inside {
		return 0
	}
	i := strings.Index(string(p.opened), p.fence.open)
	return i + len(p.fence.open)
}

func (p *CallParser) beginCall(b byte) {
	p.reader, p.place, p.began = &callReader{names: p.names}, inCall, true
	p.call(b)
}

func (p *CallParser) call(b byte) {
	switch p.reader.push(b, p.emitCall) {
	case callDone:
		p.calls++
		p.reader, p.opened, p.inside = nil, nil, true
		if p.place = inFence; p.fence.open == "" {
			p.place = afterCall
		}
	case callBad:
		p.reader.flow(p.emitCall)
		if p.reader.began {
			p.calls++
			p.opened, p.reader.text = nil, p.reader.text[len(p.reader.text)-1:]
		}
		p.giveBack()
	}
}

// giveBack makes text of what looked like calls and was none.
func (p *CallParser) giveBack() {
	text := p.opened
	if p.reader != nil {
		text = append(text, p.reader.text...)
	}
	p.opened, p.reader, p.place, p.fence, p.began = nil, nil, inText, fence{}, true
	p.emitText(text)
}

func (p *CallParser) emitText(text []byte) {
	if len(text) == 0 {
		return
	}
	if n := len(p.out); n > 0 && p.out[n-1].Text != "" {
		p.out[n-1].Text += string(text)
		return
	}
	p.out = append(p.out, Fragment{Text: string(text)})
}

func (p *CallParser) emitCall(name, arguments string) {
	if n := len(p.out); n > 0 && name == "" && p.out[n-1].Text == "" && p.out[n-1].Call == p.calls {
		p.out[n-1].Arguments += arguments
		return
	}
	p.out = append(p.out, Fragment{Call: p.calls, Name: name, Arguments: arguments})
}

func isSpace(b byte) bool { return b == ' ' || b == '\t' || b == '\r' || b == '\n' }
