package main

import (
	"fmt"
	"io"
	"strings"
)

// statusLine is one line on a terminal that is rewritten in place. Elsewhere
// it prints a line per new text, so that logs stay readable.
type statusLine struct {
	w     io.Writer
	tty   bool
	width func() int
	last  string
}

func (a *app) statusLine() *statusLine {
	return &statusLine{w: a.err, tty: a.errTTY, width: a.errWidth}
}

// set shows text.
func (s *statusLine) set(text string) {
	if text == s.last {
		return
	}
	s.last = text
	if !s.tty {
		fmt.Fprintln(s.w, text)
		return
	}
	if w := s.width() - 1; len(text) > w && w > 0 { // a wrapped line could not be cleared
		text = text[:w]
	}
	fmt.Fprint(s.w, "\r\x1b[K", text)
}

// clear removes the line from a terminal.
func (s *statusLine) clear() {
	if s.tty && s.last != "" {
		fmt.Fprint(s.w, "\r\x1b[K")
	}
	s.last = ""
}

// meter shows how much of something is done: a bar on a terminal, otherwise
// one line per fifth.
type meter struct {
	line  *statusLine
	verb  string
	unit  func(int64) string
	fifth int64
}

func (a *app) meter(verb string, unit func(int64) string) *meter {
	return &meter{line: a.statusLine(), verb: verb, unit: unit}
}

// update shows done of total; note is appended, as in "120 cached".
func (m *meter) update(done, total int64, note string) {
	if total <= 0 {
		return
	}
	text := fmt.Sprintf("%s %s of %s (%d %%)", m.verb, m.unit(done), m.unit(total), 100*done/total)
	if note != "" {
		text += ", " + note
	}
	if m.line.tty {
		const cells = 24
		full := int(cells * done / total)
		m.line.set("[" + strings.Repeat("=", full) + strings.Repeat(" ", cells-full) + "] " + text)
		return
	}
	if f := 5 * done / total; f != m.fifth {
		m.fifth = f
		m.line.set(text)
	}
}

// clear removes the bar.
func (m *meter) clear() { m.line.clear() }
