package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strings"
	"unicode"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// ParseConfig reads a TOML document over DefaultConfig and validates it. file
// names the document in errors, each of which is one line "file:line: …".
func ParseConfig(file string, doc []byte) (Config, error) {
	c, err := decode(doc)
	if err != nil {
		return Config{}, describeDecode(file, doc, err)
	}
	problems := c.validate()
	if len(problems) == 0 {
		return c, nil
	}
	lines := keyLines(doc)
	var errs []error
	for _, p := range problems {
		errs = append(errs, fmt.Errorf("%s:%d: %s", file, lines.of(p.key), p))
	}
	return Config{}, errors.Join(errs...)
}

func decode(doc []byte) (Config, error) {
	c := DefaultConfig()
	err := toml.NewDecoder(bytes.NewReader(doc)).DisallowUnknownFields().Decode(&c)
	return c, err
}

// describeDecode turns the library's errors into lines with file, line and text.
func describeDecode(file string, doc []byte, err error) error {
	text := strings.Split(string(doc), "\n")
	at := func(line int) string {
		if line < 1 || line > len(text) {
			return ""
		}
		return shown(strings.TrimSpace(text[line-1]))
	}
	var missing *toml.StrictMissingError
	if errors.As(err, &missing) {
		var errs []error
		for i, e := range missing.Errors {
			if i == maxShownErrors {
				errs = append(errs, fmt.Errorf("%s: %d more unknown keys", file, len(missing.Errors)-i))
				break
			}
			line, _ := e.Position()
			errs = append(errs, fmt.Errorf("%s:%d: unknown key %s: %s", file, line, shown(strings.Join(e.Key(), ".")), at(line)))
		}
		return errors.Join(errs...)
	}
	var bad *toml.DecodeError
	if errors.As(err, &bad) {
		line, _ := bad.Position()
		return fmt.Errorf("%s:%d: %s: %s", file, line, plainMessage(bad), at(line))
	}
	line := firstFailure(doc, text)
	return fmt.Errorf("%s:%d: %s: %w", file, line, at(line), err)
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
func firstFailure(doc []byte, lines []string) int {
	return 1 + sort.Search(len(lines)-1, func(i int) bool {
		_, err := decode([]byte(strings.Join(lines[:i+1], "\n")))
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
