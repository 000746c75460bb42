package gguftest

import (
	"encoding/binary"
	"fmt"
)

// Type tags of metadata values.
const (
	tagString = 8
	tagArray  = 9
)

// tagOf returns the tag of fixed-size values of T.
func tagOf[T any]() uint32 {
	switch any(*new(T)).(type) {
	case uint8:
		return 0
	case int8:
		return 1
	case uint16:
		return 2
	case int16:
		return 3
	case uint32:
		return 4
	case int32:
		return 5
	case float32:
		return 6
	case bool:
		return 7
	case uint64:
		return 10
	case int64:
		return 11
	default: // float64
		return 12
	}
}

// appendValue appends the type tag and the payload of v.
func appendValue(out []byte, v any) ([]byte, error) {
	le := binary.LittleEndian
	switch v := v.(type) {
	case string:
		return appendString(le.AppendUint32(out, tagString), v), nil
	case []string:
		out = appendArrayHeader(out, tagString, len(v))
		for _, s := range v {
			out = appendString(out, s)
		}
		return out, nil
	case uint8:
		return appendScalar(out, v)
	case int8:
		return appendScalar(out, v)
	case uint16:
		return appendScalar(out, v)
	case int16:
		return appendScalar(out, v)
	case uint32:
		return appendScalar(out, v)
	case int32:
		return appendScalar(out, v)
	case uint64:
		return appendScalar(out, v)
	case int64:
		return appendScalar(out, v)
	case float32:
		return appendScalar(out, v)
	case float64:
		return appendScalar(out, v)
	case bool:
		return appendScalar(out, v)
	case []uint8:
		return appendArray(out, v)
	case []int8:
		return appendArray(out, v)
	case []uint16:
		return appendArray(out, v)
	case []int16:
		return appendArray(out, v)
	case []uint32:
		return appendArray(out, v)
	case []int32:
		return appendArray(out, v)
	case []uint64:
		return appendArray(out, v)
	case []int64:
		return appendArray(out, v)
	case []float32:
		return appendArray(out, v)
	case []float64:
		return appendArray(out, v)
	case []bool:
		return appendArray(out, v)
	default:
		return nil, fmt.Errorf("Go type %T has no GGUF type", v)
	}
}

func appendScalar[T any](out []byte, v T) ([]byte, error) {
	out = binary.LittleEndian.AppendUint32(out, tagOf[T]())
	return binary.Append(out, binary.LittleEndian, v)
}

func appendArray[T any](out []byte, v []T) ([]byte, error) {
	return binary.Append(appendArrayHeader(out, tagOf[T](), len(v)), binary.LittleEndian, v)
}

func appendArrayHeader(out []byte, elem uint32, n int) []byte {
	out = binary.LittleEndian.AppendUint32(out, tagArray)
	out = binary.LittleEndian.AppendUint32(out, elem)
	return binary.LittleEndian.AppendUint64(out, uint64(n))
}
