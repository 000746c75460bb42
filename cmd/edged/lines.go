package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// lineReader reads lines of a conversation. It belongs to one goroutine.
type lineReader interface {
	// read returns a line without its end, io.EOF after the last one, or
	// errLineCancelled after Ctrl-C.
	read(prompt string) (string, error)
	close() error
}

var errLineCancelled = errors.New("line cancelled")

// pipeLines reads without prompts.
type pipeLines struct{ r *bufio.Reader }

func newPipeLines(r io.Reader) pipeLines { return pipeLines{bufio.NewReader(r)} }

func (p pipeLines) read(string) (string, error) {
	line, err := p.r.ReadString('\n')
	if err != nil && (line == "" || !errors.Is(err, io.EOF)) {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}

func (p pipeLines) close() error { return nil }

// terminalLines edits lines in raw mode. The mode is left while no line is
// read, so that Ctrl-C is a signal again while an answer runs.
type terminalLines struct {
	in   *os.File
	out  io.Writer
	keys *keyFilter
	t    *term.Terminal
	hist *history // nil = lines are remembered for this conversation only
}

func newTerminalLines(in *os.File, out io.Writer, h *history) *terminalLines {
	keys := &keyFilter{r: in}
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{keys, out}, "")
	if h != nil {
		t.History = h
	}
	return &terminalLines{in: in, out: out, keys: keys, t: t, hist: h}
}

func (l *terminalLines) read(prompt string) (line string, err error) {
	fd := int(l.in.Fd())
	old, err := term.MakeRaw(fd)
	if err != nil {
		return "", fmt.Errorf("set terminal to raw mode: %w", err)
	}
	if w, h, err := term.GetSize(fd); err == nil {
		_ = l.t.SetSize(w, h) // fails only for a width of 0
	}
	l.t.SetBracketedPasteMode(true)
	defer func() {
		l.t.SetBracketedPasteMode(false)
		err = errors.Join(err, term.Restore(fd, old))
	}()
	l.t.SetPrompt(prompt)
	var b strings.Builder
	for {
		part, err := l.t.ReadLine()
		if l.keys.takeCancel() {
			return "", errLineCancelled
		}
		b.WriteString(part)
		if errors.Is(err, io.EOF) {
			fmt.Fprint(l.out, "\r\n") // the shell's prompt does not belong behind ours
		}
		if errors.Is(err, term.ErrPasteIndicator) { // more of the pasted text follows
			b.WriteByte('\n')
			l.t.SetPrompt("")
			continue
		}
		return b.String(), err
	}
}

func (l *terminalLines) close() error {
	if l.hist == nil {
		return nil
	}
	return l.hist.close()
}

const ctrlC = 3

// keyFilter turns Ctrl-C, which term.Terminal takes for the end of the input,
// into "go to the end, delete the line, enter", and remembers it.
type keyFilter struct {
	r         io.Reader
	pending   []byte
	cancelled bool
}

func (k *keyFilter) Read(p []byte) (int, error) {
	if len(k.pending) == 0 {
		buf := make([]byte, len(p))
		n, err := k.r.Read(buf)
		if n == 0 {
			return 0, err
		}
		for _, c := range buf[:n] {
			if c == ctrlC {
				k.cancelled = true
				k.pending = append(k.pending, "\x05\x15\r"...)
				continue
			}
			k.pending = append(k.pending, c)
		}
	}
	n := copy(p, k.pending)
	k.pending = k.pending[n:]
	return n, nil
}

func (k *keyFilter) takeCancel() bool {
	c := k.cancelled
	k.cancelled = false
	return c
}
