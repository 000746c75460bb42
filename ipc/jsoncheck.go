package ipc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// maxJSONDepth is the deepest nesting of arrays and objects in a body. Requests
// need about six levels; tool schemas in a history a few more.
const maxJSONDepth = 64

// checkJSON verifies that data is one JSON value that every decoder would read
// alike: valid UTF-8, no key twice in one object, no half of a surrogate pair,
// nothing after the value, at most maxJSONDepth levels. Errors name the byte
// offset, counted from 0.
//
// encoding/json by itself takes the last of duplicate keys and replaces broken
// text by U+FFFD, so that the model would be asked something else than what
// was sent.
func checkJSON(data []byte) error {
	if !utf8.Valid(data) {
		return fmt.Errorf("the body is not valid UTF-8 at byte %d", invalidUTF8(data))
	}
	// Depth first: the grammar check recurses no deeper than it must, but its
	// own depth error would name another limit than ours.
	if off, ok := checkDepth(data); !ok {
		return fmt.Errorf("the body nests arrays and objects deeper than %d levels at byte %d", maxJSONDepth, off)
	}
	if !json.Valid(data) {
		return syntaxError(data)
	}
	w := walker{data: data}
	return w.walk()
}

// syntaxError says where data stops being JSON.
func syntaxError(data []byte) error {
	var raw json.RawMessage
	err := json.Unmarshal(data, &raw)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("the body is not valid JSON at byte %d: %w", syntax.Offset-1, err)
	}
	return fmt.Errorf("the body is not valid JSON: %w", err)
}

// invalidUTF8 returns the offset of the first byte that is not part of a valid
// encoding. It expects that there is one.
func invalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(data)
}

// checkDepth returns the offset of the first bracket past the limit. On text that
// is not JSON its answer does not matter, as the grammar check follows.
func checkDepth(data []byte) (int, bool) {
	depth := 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			i = stringEnd(data, i)
		case '{', '[':
			if depth++; depth > maxJSONDepth {
				return i, false
			}
		case '}', ']':
			depth--
		}
	}
	return 0, true
}

// walker looks for what the grammar allows and we do not. data is valid JSON.
type walker struct {
	data   []byte
	scopes []scope
}

// scope is an open array or object.
type scope struct {
	keys      map[string]struct{} // nil in an array
	expectKey bool
}

func (w *walker) walk() error {
	for i := 0; i < len(w.data); i++ {
		switch w.data[i] {
		case '{':
			w.scopes = append(w.scopes, scope{keys: map[string]struct{}{}, expectKey: true})
		case '[':
			w.scopes = append(w.scopes, scope{})
		case '}', ']':
			w.scopes = w.scopes[:len(w.scopes)-1]
		case ',':
			top := &w.scopes[len(w.scopes)-1]
			top.expectKey = top.keys != nil
		case '"':
			end := stringEnd(w.data, i)
			if err := w.checkString(i, end); err != nil {
				return err
			}
			i = end
		}
	}
	return nil
}

// checkString looks at the string whose quotes are at start and end.
func (w *walker) checkString(start, end int) error {
	body := w.data[start+1 : end]
	escaped := false
	for i := 0; ; {
		slash := bytes.IndexByte(body[i:], '\\')
		if slash < 0 {
			break
		}
		escaped = true
		i += slash
		n := 2
		if body[i+1] == 'u' {
			if n = unicodeEscape(body[i:]); n == 0 {
				return fmt.Errorf("the body has half of a surrogate pair at byte %d: %s", start+1+i, body[i:i+6])
			}
		}
		i += n
	}
	if len(w.scopes) == 0 {
		return nil
	}
	top := &w.scopes[len(w.scopes)-1]
	if !top.expectKey {
		return nil
	}
	top.expectKey = false
	key := string(body)
	if escaped {
		if err := json.Unmarshal(w.data[start:end+1], &key); err != nil {
			return fmt.Errorf("decode key at byte %d: %w", start, err)
		}
	}
	if _, twice := top.keys[key]; twice {
		return fmt.Errorf("the body has the key %s twice in one object, again at byte %d", show([]byte(fmt.Sprintf("%q", key))), start)
	}
	top.keys[key] = struct{}{}
	return nil
}

// unicodeEscape returns the length of the \u escape at the start of s, with its
// second half if it is a surrogate pair, or 0 when one half is missing.
func unicodeEscape(s []byte) int {
	switch r := hex4(s[2:6]); {
	case r < 0xd800 || r > 0xdfff:
		return 6
	case r > 0xdbff || len(s) < 12 || s[6] != '\\' || s[7] != 'u':
		return 0
	}
	if low := hex4(s[8:12]); low < 0xdc00 || low > 0xdfff {
		return 0
	}
	return 12
}

// hex4 reads four hexadecimal digits.
func hex4(s []byte) rune {
	var r rune
	for _, c := range s[:4] {
		switch {
		case c <= '9':
			c -= '0'
		case c <= 'F':
			c -= 'A' - 10
		default:
			c -= 'a' - 10
		}
		r = r<<4 | rune(c)
	}
	return r
}
