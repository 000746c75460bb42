package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// maxHistory is how many lines are kept.
const maxHistory = 1000

// historyPath is where the XDG specification wants state that may be lost.
func historyPath(getenv func(string) string) string {
	dir := getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(getenv("HOME"), ".local", "state")
	}
	return filepath.Join(dir, "edged", "chat_history")
}

// history is the lines of earlier conversations, oldest first. It implements
// term.History and belongs to one goroutine.
type history struct {
	file  *os.File
	lines []string
	err   error // the first failed write
}

// openHistory reads the file, or makes one that only its owner can read.
func openHistory(path string) (*history, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open history: %w", err)
	}
	lines, err := readHistory(path)
	if err != nil {
		return nil, err
	}
	h := &history{lines: lines}
	if len(lines) > maxHistory {
		h.lines = slices.Clone(lines[len(lines)-maxHistory:])
		if err := rewriteHistory(path, h.lines); err != nil {
			return nil, err
		}
	}
	if h.file, err = os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
		return nil, fmt.Errorf("open history: %w", err)
	}
	if err := h.file.Chmod(0o600); err != nil { // a file that somebody made readable
		return nil, errors.Join(fmt.Errorf("open history: %w", err), h.file.Close())
	}
	return h, nil
}

func readHistory(path string) ([]string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	defer f.Close()
	var lines []string
	s := bufio.NewScanner(f)
	s.Buffer(nil, maxTextBytes)
	for s.Scan() {
		lines = append(lines, s.Text())
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	return lines, nil
}

// rewriteHistory replaces the file in one step.
func rewriteHistory(path string, lines []string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".chat_history-*") // mode 0600
	if err != nil {
		return fmt.Errorf("shorten history: %w", err)
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	w := bufio.NewWriter(f)
	for _, l := range lines {
		fmt.Fprintln(w, l) // bufio keeps the error for Flush
	}
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		return fmt.Errorf("shorten history: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("shorten history: %w", err)
	}
	return nil
}

// Add remembers a line, unless it is empty or the same as the last one.
func (h *history) Add(line string) {
	if line == "" || len(h.lines) > 0 && h.lines[len(h.lines)-1] == line {
		return
	}
	h.lines = append(h.lines, line)
	if _, err := fmt.Fprintln(h.file, line); err != nil && h.err == nil {
		h.err = fmt.Errorf("write history: %w", err)
	}
}

// Len is the number of lines.
func (h *history) Len() int { return len(h.lines) }

// At is the i-th line, the newest first.
func (h *history) At(i int) string { return h.lines[len(h.lines)-1-i] }

func (h *history) close() error { return errors.Join(h.err, h.file.Close()) }
