package ipc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// object reads the fields of a JSON object that has passed checkJSON. It keeps
// the first error; once there is one, every read returns a zero value.
type object struct {
	path   string // prefix of field names in errors, such as "messages[2]."
	fields map[string]json.RawMessage
	err    *Error
}

// newObject reads raw, which errors call name.
func newObject(raw json.RawMessage, name, path string) (*object, *Error) {
	o := &object{path: path}
	var ok bool
	if o.fields, ok = members(raw); !ok {
		return nil, invalid(strings.TrimSuffix(path, "."), "%s must be a JSON object, got %s", name, show(raw))
	}
	return o, nil
}

// fail keeps an error about a field, unless there is one already.
func (o *object) fail(field, format string, args ...any) {
	if o.err == nil {
		o.err = invalid(o.path+field, "%s "+format, append([]any{o.path + field}, args...)...)
	}
}

// get returns a field's value; null counts as absent, as in OpenAI's API.
func (o *object) get(field string) (json.RawMessage, bool) {
	raw, ok := o.fields[field]
	if !ok || isNull(raw) || o.err != nil {
		return nil, false
	}
	return raw, true
}

func (o *object) string(field string) (string, bool) {
	raw, ok := o.get(field)
	if !ok {
		return "", false
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		o.fail(field, "must be a string, got %s", show(raw))
		return "", false
	}
	return s, true
}

func (o *object) bool(field string, absent bool) bool {
	raw, ok := o.get(field)
	if !ok {
		return absent
	}
	switch string(raw) {
	case "true":
		return true
	case "false":
		return false
	}
	o.fail(field, "must be true or false, got %s", show(raw))
	return absent
}

// int reads an integer from lo to hi, or returns nil when the field is absent.
func (o *object) int(field string, lo, hi int64) *int64 {
	raw, ok := o.get(field)
	if !ok {
		return nil
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || n < lo || n > hi {
		o.fail(field, "must be an integer from %d to %d, got %s", lo, hi, show(raw))
		return nil
	}
	return &n
}

// smallInt is int for values that fit Go's int.
func (o *object) smallInt(field string, lo, hi int64) *int {
	p := o.int(field, lo, hi)
	if p == nil {
		return nil
	}
	n := int(*p)
	return &n
}

// span is a range of numbers.
type span struct {
	lo, hi float64
	open   bool // lo itself is outside
}

func (s span) String() string {
	if s.open {
		return fmt.Sprintf("above %g and at most %g", s.lo, s.hi)
	}
	return fmt.Sprintf("from %g to %g", s.lo, s.hi)
}

func (s span) has(f float64) bool {
	return f <= s.hi && (f > s.lo || !s.open && f == s.lo)
}

// number reads a number within r, or returns nil when the field is absent.
func (o *object) number(field string, r span) *float64 {
	raw, ok := o.get(field)
	if !ok {
		return nil
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || !isNumber(raw) || !r.has(f) {
		o.fail(field, "must be a number %s, got %s", r, show(raw))
		return nil
	}
	return &f
}

// agree returns the one value of two spellings of a field, which may both be
// given when they say the same.
func agree[T comparable](o *object, a string, av *T, b string, bv *T) *T {
	if av == nil {
		return bv
	}
	if bv != nil && *av != *bv {
		o.fail(a, "is %v, but %s is %v; they mean the same, give one", *av, b, *bv)
	}
	return av
}

// isNumber tells a JSON number from what else ParseFloat reads, as JSON strings
// and literals begin otherwise.
func isNumber(raw json.RawMessage) bool {
	return len(raw) > 0 && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9')
}

func isNull(raw json.RawMessage) bool { return string(raw) == "null" }

// maxShown is how much of a refused value is repeated in an error, in bytes.
const maxShown = 60

// show renders a refused value for an error message.
func show(raw []byte) string {
	if len(raw) <= maxShown {
		return string(raw)
	}
	cut := raw[:maxShown]
	for !utf8.Valid(cut) {
		cut = cut[:len(cut)-1]
	}
	return fmt.Sprintf("%s… (%d bytes)", cut, len(raw))
}

// tokenIDs reads an array of token ids, of which only the vocabulary knows the
// upper end. It returns the index of the first element that is none, or -1.
func tokenIDs(raw json.RawMessage) (ids []int32, bad int) {
	// checkJSON has passed: between the brackets of an array of numbers
	// there are only digits and commas, so that splitting is safe,
	// and anything else fails to parse.
	rest := bytes.TrimSpace(raw[1 : len(raw)-1])
	for len(rest) > 0 {
		var one []byte
		one, rest, _ = bytes.Cut(rest, []byte{','})
		n, err := strconv.ParseInt(string(bytes.TrimSpace(one)), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt32 {
			return nil, len(ids)
		}
		ids = append(ids, int32(n))
	}
	return ids, -1
}

// invalid makes the error of a request that can never succeed as it stands.
func invalid(param, format string, args ...any) *Error {
	return &Error{Kind: KindInvalidRequest, Param: param, Message: fmt.Sprintf(format, args...)}
}
