package infer

import (
	"fmt"
	"runtime/debug"
)

// panicError is a panic of the backend, of a file's reader or of a task's own
// code.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// catch turns a panic of the function that defers it into its error.
func catch(err *error) {
	if p := recover(); p != nil {
		*err = &panicError{p, debug.Stack()}
	}
}
