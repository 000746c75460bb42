package jinja

import (
	"fmt"
	"math"
)

// Dict is a Python dict: it keeps the order in which keys were added. Keys are
// nil, bool, int64, float64 or string.
type Dict struct {
	keys  []any
	vals  []any
	index map[any]int // by canonical key
}

// NewDict returns an empty dict.
func NewDict() *Dict { return &Dict{index: map[any]int{}} }

// Len is the number of keys.
func (d *Dict) Len() int { return len(d.keys) }

// Set adds or replaces a string key; a replaced key keeps its place.
func (d *Dict) Set(key string, val any) { d.put(key, key, val) }

// Get returns the value of a string key.
func (d *Dict) Get(key string) (any, bool) { return d.lookup(key) }

// setAny is Set for a key that a template computed.
func (d *Dict) setAny(key, val any) error {
	canon, err := hashKey(key)
	if err != nil {
		return err
	}
	d.put(canon, key, val)
	return nil
}

func (d *Dict) put(canon, key, val any) {
	if i, ok := d.index[canon]; ok {
		d.vals[i] = val
		return
	}
	d.index[canon] = len(d.keys)
	d.keys = append(d.keys, key)
	d.vals = append(d.vals, val)
}

// lookup finds key; a key that cannot be hashed is not found.
func (d *Dict) lookup(key any) (any, bool) {
	canon, err := hashKey(key)
	if err != nil {
		return nil, false
	}
	i, ok := d.index[canon]
	if !ok {
		return nil, false
	}
	return d.vals[i], true
}

// pairs returns the items as tuples.
func (d *Dict) pairs() []any {
	out := make([]any, len(d.keys))
	for i, k := range d.keys {
		out[i] = newTuple(k, d.vals[i])
	}
	return out
}

// hashKey maps keys that are equal in Python (1, 1.0, True) to one Go key.
func hashKey(key any) (any, error) {
	switch k := key.(type) {
	case nil, string, bigInt:
		return k, nil
	case bool, int64:
		i, _ := asInt(k)
		return i, nil
	case float64:
		if k == math.Trunc(k) && math.Abs(k) < 1<<53 {
			return int64(k), nil
		}
		return k, nil
	}
	return nil, fmt.Errorf("unhashable type: '%s'", typeName(key))
}
