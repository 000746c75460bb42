package gguf

import "fmt"

// FormatError reports bytes that are not a valid GGUF file or use a feature
// that this package does not support.
type FormatError struct {
	Offset int64  // bytes from the start of the file (of the part, when split)
	Reason string // names the offending item, the value and the limit
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("gguf: offset %d: %s", e.Offset, e.Reason)
}

func formatErrorf(offset int, format string, args ...any) error {
	return &FormatError{Offset: int64(offset), Reason: fmt.Sprintf(format, args...)}
}
