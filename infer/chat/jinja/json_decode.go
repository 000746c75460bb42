package jinja

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// DecodeJSON decodes one JSON value. Objects keep the order of their keys (a
// repeated key keeps its first place and its last value, as in Python), and
// integers stay integers. Every string, keys included, passes through guard
// unless that is nil.
func DecodeJSON(data []byte, guard func(string) string) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if guard == nil {
		guard = func(s string) string { return s }
	}
	v, err := decodeValue(d, guard, 0)
	if err != nil {
		return nil, fmt.Errorf("decode JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("decode JSON: data behind the value at byte %d", d.InputOffset())
	}
	return v, nil
}

func decodeValue(d *json.Decoder, guard func(string) string, depth int) (any, error) {
	if err := checkDepth(depth); err != nil {
		return nil, err
	}
	t, err := d.Token()
	if err != nil {
		return nil, unexpectedEOF(err)
	}
	switch t := t.(type) {
	case string:
		return guard(t), nil
	case json.Number:
		return decodeNumber(string(t))
	case json.Delim:
		if t == '[' {
			return decodeArray(d, guard, depth)
		}
		return decodeObject(d, guard, depth)
	}
	return t, nil // nil or bool
}

func unexpectedEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func decodeNumber(s string) (any, error) {
	if strings.ContainsAny(s, ".eE") {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil && !math.IsInf(f, 0) { // too large is infinite, as in Python
			return nil, err
		}
		return f, nil
	}
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return i, nil
	}
	return bigInt(s), nil
}

func decodeArray(d *json.Decoder, guard func(string) string, depth int) (any, error) {
	list := NewList()
	for d.More() {
		v, err := decodeValue(d, guard, depth+1)
		if err != nil {
			return nil, err
		}
		list.Items = append(list.Items, v)
	}
	_, err := d.Token()
	return list, unexpectedEOF(err)
}

func decodeObject(d *json.Decoder, guard func(string) string, depth int) (any, error) {
	dict := NewDict()
	for d.More() {
		k, err := d.Token()
		if err != nil {
			return nil, unexpectedEOF(err)
		}
		v, err := decodeValue(d, guard, depth+1)
		if err != nil {
			return nil, err
		}
		dict.Set(guard(k.(string)), v)
	}
	_, err := d.Token()
	return dict, unexpectedEOF(err)
}
