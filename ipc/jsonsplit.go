package ipc

import (
	"bytes"
	"encoding/json"
)

// The functions in this file take JSON apart that has passed checkJSON. They
// copy nothing: the parts are slices of the body. With encoding/json, reading a
// body field by field takes ten times its size in memory.

// stringEnd returns the offset of the quote that ends the string which begins
// at start, or len(data) when there is none.
func stringEnd(data []byte, start int) int {
	for i := start + 1; ; i++ {
		n := bytes.IndexByte(data[i:], '"')
		if n < 0 {
			return len(data)
		}
		i += n
		slashes := 0
		for data[i-1-slashes] == '\\' { // stops at the opening quote
			slashes++
		}
		if slashes%2 == 0 {
			return i
		}
	}
}

// valueEnd returns the offset after the value that begins at start.
func valueEnd(data []byte, start int) int {
	depth := 0
	for i := start; i < len(data); i++ {
		switch data[i] {
		case '"':
			i = stringEnd(data, i)
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // of the surrounding value: a number or literal has ended
			}
			depth--
		case ',', ':', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
			continue
		default:
			continue
		}
		if depth == 0 {
			return i + 1
		}
	}
	return len(data)
}

// skipSpace returns the offset of the next byte that is no whitespace or, where
// only one such byte is possible, no comma or colon.
func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] <= ' ' || data[i] == ',' || data[i] == ':') {
		i++
	}
	return i
}

// members returns the fields of the object raw, or false when raw is none.
func members(raw json.RawMessage) (map[string]json.RawMessage, bool) {
	if raw[0] != '{' {
		return nil, false
	}
	fields := map[string]json.RawMessage{}
	for i := skipSpace(raw, 1); raw[i] != '}'; i = skipSpace(raw, i) {
		end := stringEnd(raw, i) + 1
		key := string(raw[i+1 : end-1])
		if bytes.IndexByte(raw[i:end], '\\') >= 0 {
			if json.Unmarshal(raw[i:end], &key) != nil {
				return nil, false // checkJSON has decoded it before
			}
		}
		i = skipSpace(raw, end)
		end = valueEnd(raw, i)
		fields[key] = raw[i:end:end]
		i = end
	}
	return fields, true
}

// elements calls f with every element of the array raw until it returns false.
// It reports false when raw is no array.
func elements(raw json.RawMessage, f func(i int, raw json.RawMessage) bool) bool {
	if raw[0] != '[' {
		return false
	}
	n := 0
	for i := skipSpace(raw, 1); raw[i] != ']'; i = skipSpace(raw, i) {
		end := valueEnd(raw, i)
		if !f(n, raw[i:end:end]) {
			break
		}
		i, n = end, n+1
	}
	return true
}
