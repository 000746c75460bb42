package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKeyFilterTurnsCtrlCIntoAnEmptyLine(t *testing.T) {
	k := &keyFilter{r: strings.NewReader("ab\x03c\r")}
	var got []byte
	buf := make([]byte, 3) // smaller than what one key becomes
	for {
		n, err := k.Read(buf)
		got = append(got, buf[:n]...)
		if err != nil {
			break
		}
	}
	if want := "ab\x05\x15\rc\r"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !k.takeCancel() || k.takeCancel() {
		t.Error("the cancellation must be reported once")
	}
}

func TestPipeLines(t *testing.T) {
	p := newPipeLines(strings.NewReader("one\r\n\ntwo"))
	for _, want := range []string{"one", "", "two"} {
		if got, err := p.read("> "); got != want || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	if _, err := p.read("> "); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

func TestReadMessage(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"plain\nnext\n", "plain"},
		{"a\\\nb\\\nc\n", "a\nb\nc"},
		{"\"\"\"\na\n\nb\n\"\"\"\n", "a\n\nb"},
		{"\"\"\"a\nb\"\"\"\n", "a\nb"},
		{"\"\"\"a\"\"\"\n", "a"},
	} {
		talk := talk{lines: newPipeLines(strings.NewReader(tc.in))}
		if got, err := talk.readMessage(); got != tc.want || err != nil {
			t.Errorf("%q: got %q, %v, want %q", tc.in, got, err, tc.want)
		}
	}
	open := talk{lines: newPipeLines(strings.NewReader("\"\"\"\nnever closed\n"))}
	if _, err := open.readMessage(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("open block: %v", err)
	}
}

func TestHistory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "history")
	h, err := openHistory(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxHistory + 3 {
		h.Add(fmt.Sprint("line ", i))
	}
	h.Add("last")
	h.Add("last")
	h.Add("")
	if h.At(0) != "last" || h.At(1) != fmt.Sprint("line ", maxHistory+2) {
		t.Errorf("newest lines are %q, %q", h.At(0), h.At(1))
	}
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if h, err = openHistory(path); err != nil {
		t.Fatal(err)
	}
	defer h.close()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v", fi.Mode())
	}
	if h.Len() != maxHistory || h.At(0) != "last" {
		t.Errorf("%d lines, newest %q", h.Len(), h.At(0))
	}
	onDisk, err := readHistory(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(h.lines, onDisk); d != "" {
		t.Error(d)
	}
}

func TestMeterElsewhereThanATerminal(t *testing.T) {
	var b strings.Builder
	a := &app{err: &b}
	m := a.meter("reading:", tokens)
	for i := int64(0); i <= 1000; i++ {
		m.update(i, 1000, "")
	}
	want := "reading: 200 tokens of 1000 tokens (20 %)\nreading: 400 tokens of 1000 tokens (40 %)\nreading: 600 tokens of 1000 tokens (60 %)\n" +
		"reading: 800 tokens of 1000 tokens (80 %)\nreading: 1000 tokens of 1000 tokens (100 %)\n"
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
}

func TestMeterOnATerminal(t *testing.T) {
	var b strings.Builder
	a := &app{err: &b, errTTY: true, errWidth: func() int { return 40 }}
	m := a.meter("reading:", tokens)
	m.update(5, 10, "3 cached")
	m.clear()
	if d := cmp.Diff("\r\x1b[K[============            ] reading: 5 t\r\x1b[K", b.String()); d != "" {
		t.Error(d)
	}
}

// What a model writes must not reach a terminal as a command.
func TestTerminalGetsNoControlCharacters(t *testing.T) {
	var b strings.Builder
	a := &app{out: &b, outTTY: true}
	if err := a.print("a\x1b]0;title\x07\tb\u009bc\n"); err != nil {
		t.Fatal(err)
	}
	if want := "a\uFFFD]0;title\uFFFD\tb\uFFFDc\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
	b.Reset()
	a.outTTY = false
	if err := a.print("\x1b"); err != nil || b.String() != "\x1b" {
		t.Errorf("a file must get what the model wrote, got %q, %v", b.String(), err)
	}
}
