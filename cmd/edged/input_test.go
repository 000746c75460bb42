package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// An interrupt must end a command that waits for a pipe that nobody writes to.
func TestReadTextEndsWithItsContext(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errInterrupted)
	if _, err := readText(ctx, pipe, nil); !errors.Is(err, errInterrupted) {
		t.Errorf("error is %v, want %v", err, errInterrupted)
	}
}

func TestCheckArgument(t *testing.T) {
	for text, want := range map[string]string{"Who?": "", "": "question is empty", " \n": "question is empty", "a\xffb": "bad byte 0xff at offset 1"} {
		err := checkArgument("question", text)
		var usage usageError
		switch {
		case want == "" && err != nil, want != "" && (!errors.As(err, &usage) || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: error is %v, want %q", text, err, want)
		}
	}
}
