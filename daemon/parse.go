package daemon

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"
	"unicode"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// ParseConfig reads a TOML document over DefaultConfig and validates it. file
// names the document in errors, each of which is one line "file:line: …". All are
// named, unless the document is no TOML.
func ParseConfig(file string, doc []byte) (Config, error) {
	p := parsing{file: file, text: strings.Split(string(doc), "\n"), wrong: map[int]bool{}}
	c, ok := p.values()
	if ok {
		lines := keyLines(doc)
		for _, problem := range c.validate() {
			if line := lines.of(problem.key); !p.wrong[line] {
				p.fail(line, errors.New(problem.String()))
			}
		}
	}
	if len(p.found) == 0 {
		return c, nil
	}
	return Config{}, p.errors()
}

// parsing is what reading a document has found wrong.
type parsing struct {
	file  string
	text  []string     // the document's lines
	wrong map[int]bool // lines whose values cannot be used
	found []fault
}

type fault struct {
	line int
	err  error
}

func (p *parsing) fail(line int, err error) { p.found = append(p.found, fault{line, err}) }

// at is a line's text.
func (p *parsing) at(line int) string {
	if line < 1 || line > len(p.text) {
		return ""
	}
	return shown(strings.TrimSpace(p.text[line-1]))
}

// errors are the faults by line.
func (p *parsing) errors() error {
	slices.SortStableFunc(p.found, func(a, b fault) int { return cmp.Compare(a.line, b.line) })
	more := len(p.found) - maxShownErrors
	if more > 0 {
		p.found = p.found[:maxShownErrors]
	}
	var errs []error
	for _, f := range p.found {
		errs = append(errs, fmt.Errorf("%s:%d: %w", p.file, f.line, f.err))
	}
	if more > 0 {
		errs = append(errs, fmt.Errorf("%s: %d more errors", p.file, more))
	}
	return errors.Join(errs...)
}

// values decodes the document without the lines that have no usable value, and returns
// whether the rest could be read. It gives up where errors have become too many to show.
func (p *parsing) values() (Config, bool) {
	left := slices.Clone(p.text)
	for {
		doc := joined(left)
		c, err := decode(doc)
		var missing *toml.StrictMissingError
		switch {
		case err == nil:
			return c, true
		case errors.As(err, &missing):
			for _, e := range missing.Errors {
				line, _ := e.Position()
				p.fail(line, fmt.Errorf("unknown key %s: %s", shown(strings.Join(e.Key(), ".")), p.at(line)))
			}
			c = DefaultConfig()
			return c, toml.Unmarshal(doc, &c) == nil
		}
		if !p.leaveOut(left, p.decodeFault(left, err)) || len(p.found) == maxShownErrors {
			return Config{}, false
		}
	}
}

// decodeFault notes a value that cannot be used, or where a document ends to be TOML.
func (p *parsing) decodeFault(lines []string, err error) (line int) {
	var bad *toml.DecodeError
	if errors.As(err, &bad) {
		line, _ = bad.Position()
		p.fail(line, fmt.Errorf("%s: %s", plainMessage(bad), p.at(line)))
		return line
	}
	line = firstFailure(lines)
	p.fail(line, fmt.Errorf("%s: %w", p.at(line), err))
	return line
}

// leaveOut empties a line whose value cannot be used. It fails where that leaves no
// document, since the line is more or less than a key and its value, or there was none.
func (p *parsing) leaveOut(left []string, line int) bool {
	if line < 1 || line > len(left) || p.wrong[line] || strings.HasPrefix(strings.TrimSpace(left[line-1]), "[") {
		return false
	}
	if len(p.wrong) == 0 && !isTOML(left) {
		return false
	}
	p.wrong[line], left[line-1] = true, ""
	return isTOML(left)
}

func joined(lines []string) []byte { return []byte(strings.Join(lines, "\n")) }

func isTOML(lines []string) bool { return toml.Unmarshal(joined(lines), &map[string]any{}) == nil }

func decode(doc []byte) (Config, error) {
	c := DefaultConfig()
	err := toml.NewDecoder(bytes.NewReader(doc)).DisallowUnknownFields().Decode(&c)
	return c, err
}

// What is shown of a document that may be anything: another file's bytes, by mistake.
const maxShown, maxShownErrors = 200, 20 // code points, errors

// shown is a piece of a document as one line of text.
func shown(s string) string {
	text := []rune(strings.ToValidUTF8(s, "\uFFFD"))
	n := len(text)
	text = text[:min(n, maxShown)]
	for i, r := range text {
		if !unicode.IsPrint(r) && r != '\t' {
			text[i] = '\uFFFD'
		}
	}
	if n > maxShown {
		return fmt.Sprintf("%s… (%d characters)", string(text), n)
	}
	return string(text)
}

// firstFailure is the line of an error that has no position: the library gives
// none to errors of UnmarshalText when the value is not a string. Decoding goes
// front to back, so the line is the last one of the shortest beginning of the
// document that fails in the same way.
func firstFailure(lines []string) int {
	return 1 + sort.Search(len(lines)-1, func(i int) bool {
		_, err := decode(joined(lines[:i+1]))
		var bad *toml.DecodeError
		var missing *toml.StrictMissingError
		return err != nil && !errors.As(err, &bad) && !errors.As(err, &missing)
	})
}

var typeMismatch = regexp.MustCompile(`^cannot decode TOML (\S+) into struct field .* of type (\S+)$`)

// expected says how a value of each Go type is written.
var expected = map[string]string{
	"int": "an integer", "float64": "a number", "uint32": "a user id", "bool": "true or false", "string": "a string",
	"daemon.Duration": `a duration such as "30s"`,
	"daemon.FileMode": `a file mode such as "0600"`,
	"daemon.Level":    "debug, info, warn or error",
	"daemon.Size":     `a size such as "8GiB"`,
}

// plainMessage replaces Go's type names by what a user can write.
func plainMessage(e *toml.DecodeError) string {
	msg := shown(strings.TrimPrefix(e.Error(), "toml: "))
	if m := typeMismatch.FindStringSubmatch(msg); m != nil {
		want, ok := expected[m[2]]
		if !ok {
			want = "a table"
		}
		msg = fmt.Sprintf("got a TOML %s, expected %s", m[1], want)
	}
	if key := shown(strings.Join(e.Key(), ".")); key != "" {
		msg = key + ": " + msg
	}
	return msg
}

// lineIndex maps keys such as "model[1].context" to lines.
type lineIndex map[string]int

// of is the line of key, or of the table that it would stand in; 1 otherwise.
func (l lineIndex) of(key string) int {
	for {
		if line, ok := l[key]; ok {
			return line
		}
		dot := strings.LastIndexByte(key, '.')
		if dot < 0 {
			return 1
		}
		key = key[:dot]
	}
}

// keyLines indexes a document that has already been parsed without an error.
func keyLines(doc []byte) lineIndex {
	index := lineIndex{}
	seen := map[string]int{} // array tables so far, by name
	table := ""
	var p unstable.Parser
	p.Reset(doc)
	for p.NextExpression() {
		e := p.Expression()
		var name []string
		line := 1
		for it := e.Key(); it.Next(); {
			name = append(name, string(it.Node().Data))
			line = p.Shape(it.Node().Raw).Start.Line
		}
		key := strings.Join(name, ".")
		switch e.Kind {
		case unstable.Table:
			table = key + "."
		case unstable.ArrayTable:
			key = fmt.Sprintf("%s[%d]", key, seen[key])
			seen[strings.Join(name, ".")]++
			table = key + "."
		default:
			key = table + key
		}
		index[strings.TrimSuffix(key, ".")] = line
	}
	return index
}
