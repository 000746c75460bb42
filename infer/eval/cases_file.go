package eval

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
)

// Case is one conversation about a document.
type Case struct {
	ID       string     `json:"id"` // TASK-LENGTH-NUMBER
	Task     string     `json:"task"`
	Tokens   int        `json:"tokens"`   // of the whole conversation
	Messages []Message  `json:"messages"` // user and assistant in turn; the assistant's are right
	Values   [][]string `json:"values"`   // per assistant turn, what the answer must contain

	Length int `json:"-"` // nominal tokens, from ID
}

// maxCaseBytes bounds one line: 128k tokens of text are well below it.
const maxCaseBytes = 8 << 20

// maxCasesBytes bounds a whole unpacked file, so that a small hostile one
// cannot fill the memory.
const maxCasesBytes = 1 << 30

// ReadCases reads a file of cases, one JSON object a line, gzipped or not.
func ReadCases(path string) ([]Case, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read cases: %w", err)
	}
	defer f.Close()
	in := bufio.NewReader(f)
	var r io.Reader = in
	if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		if r, err = gzip.NewReader(in); err != nil {
			return nil, fmt.Errorf("read cases %s: %w", path, err)
		}
	}
	cases, err := parseCases(r)
	if err != nil {
		return nil, fmt.Errorf("read cases %s: %w", path, err)
	}
	return cases, nil
}

func parseCases(r io.Reader) ([]Case, error) {
	limited := &io.LimitedReader{R: r, N: maxCasesBytes}
	lines := bufio.NewScanner(limited)
	lines.Buffer(make([]byte, 64<<10), maxCaseBytes)
	var cases []Case
	seen := map[string]int{}
	n := 0
	for lines.Scan() {
		n++
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			return nil, fmt.Errorf("line %d is empty", n)
		}
		c, err := parseCase(lines.Bytes())
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if first, dup := seen[c.ID]; dup {
			return nil, fmt.Errorf("line %d: id %q is that of line %d", n, c.ID, first)
		}
		seen[c.ID] = n
		cases = append(cases, c)
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("line %d is longer than %d bytes", n+1, maxCaseBytes)
	case err != nil:
		return nil, fmt.Errorf("after line %d: %w", n, err)
	case limited.N <= 0:
		return nil, fmt.Errorf("more than %d bytes", maxCasesBytes)
	case len(cases) == 0:
		return nil, errors.New("no cases")
	}
	return cases, nil
}

var caseID = regexp.MustCompile(`^([a-z]+)-([0-9]{1,9})-([0-9]{1,9})$`)

func parseCase(line []byte) (Case, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	var c Case
	if err := d.Decode(&c); err != nil {
		return c, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return c, errors.New("more than one JSON value")
	}
	id := caseID.FindStringSubmatch(c.ID)
	if id == nil || id[1] != c.Task {
		return c, fmt.Errorf("id %q is not TASK-LENGTH-NUMBER of task %q", c.ID, c.Task)
	}
	c.Length, _ = strconv.Atoi(id[2]) // nine digits at most
	if c.Length < 1 || c.Tokens < 1 {
		return c, fmt.Errorf("length %d and tokens %d must be at least 1", c.Length, c.Tokens)
	}
	return c, c.check()
}

func (c Case) check() error {
	if len(c.Values) == 0 || len(c.Messages) != 2*len(c.Values) {
		return fmt.Errorf("%d messages for %d lists of values, want two for each", len(c.Messages), len(c.Values))
	}
	for i, m := range c.Messages {
		if want := [...]string{"user", "assistant"}[i%2]; m.Role != want {
			return fmt.Errorf("message %d has role %q, want %s", i, m.Role, want)
		}
		if m.Content == "" {
			return fmt.Errorf("message %d is empty", i)
		}
	}
	for i, values := range c.Values {
		if len(values) == 0 {
			return fmt.Errorf("turn %d has no values", i)
		}
		for _, v := range values {
			if v == "" {
				return fmt.Errorf("turn %d has an empty value, which every answer contains", i)
			}
		}
		if s := score(c.Messages[2*i+1].Content, values); s != 1 {
			return fmt.Errorf("turn %d: its right answer does not contain all of its values", i)
		}
	}
	return nil
}
