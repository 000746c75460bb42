// Command edged keeps a GGUF model resident and answers local clients over a
// Unix socket.
//
// This package holds flags, wiring and printing, no logic: the daemon is in
// package daemon, conversations go through ipc/client. Each command runs in
// one goroutine of its own; a signal ends it through its context. Errors go to
// standard error, and the exit status says what kind of error it was.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"

	"edged/daemon"
	"edged/ipc/client"
)

// Exit statuses, as `edged help` lists them.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitNoDaemon    = 3
	exitRefused     = 4
	exitBelowBar    = 5
	exitDamaged     = 6
	exitInUse       = 7
	exitUnwell      = 8
	exitConfig      = 78 // EX_CONFIG of sysexits(3); the unit does not restart on it
	exitInterrupted = 130
)

// app is what every command shares.
type app struct {
	in       *os.File
	out, err io.Writer
	paths    daemon.Paths
	started  time.Time

	outTTY, errTTY bool
	errWidth       func() int // columns of the terminal behind err
}

func main() {
	a := &app{
		in: os.Stdin, out: os.Stdout, err: os.Stderr, paths: daemon.ProcessPaths(), started: time.Now(),
		outTTY: term.IsTerminal(int(os.Stdout.Fd())), errTTY: term.IsTerminal(int(os.Stderr.Fd())),
		errWidth: func() int {
			if w, _, err := term.GetSize(int(os.Stderr.Fd())); err == nil {
				return w
			}
			return 80
		},
	}
	os.Exit(a.run(os.Args[1:]))
}

// run executes one command line and returns the exit status.
func (a *app) run(args []string) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	root := a.rootCommand()
	root.SetArgs(args)
	// serve and chat give signals their own meaning.
	if cmd, _, err := root.Find(args); err != nil || cmd.Annotations[ownSignals] == "" {
		sig := make(chan os.Signal, 1)
		signal.Notify(sig, os.Interrupt, syscall.SIGTERM)
		go func() {
			<-sig
			signal.Stop(sig) // the next one ends the process at once
			cancel(errInterrupted)
		}()
	}
	return a.report(root.ExecuteContext(ctx))
}

// ownSignals marks commands that handle SIGINT themselves.
const ownSignals = "own-signals"

var (
	errInterrupted = errors.New("interrupted")
	errBelowBar    = errors.New("below the bar")
)

// usageError is a command line that can never work.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// report prints an error with what can be done about it, and maps it to an
// exit status.
func (a *app) report(err error) int {
	if err == nil {
		return exitOK
	}
	status, hint := classify(err)
	fmt.Fprintln(a.err, "edged:", err)
	if hint != "" {
		fmt.Fprintln(a.err, hint)
	}
	return status
}

// complain prints an error that does not end the program.
func (a *app) complain(err error) { a.report(err) }

const startHint = "Start it with `edged serve --model FILE.gguf`, or as a service:\n" +
	"  systemctl --user start edged     (your own)\n" +
	"  systemctl start edged            (the system's)"

func classify(err error) (status int, hint string) {
	var usage usageError
	var config *daemon.ConfigError
	var refused *client.Error
	switch {
	case errors.Is(err, errInterrupted):
		return exitInterrupted, ""
	case errors.As(err, &usage):
		return exitUsage, "See `edged help`, or add --help to the command."
	case errors.Is(err, client.ErrNotRunning):
		return exitNoDaemon, startHint
	case errors.Is(err, client.ErrNoAccess):
		return exitNoDaemon, "The daemon's configuration lists who may connect: socket.mode, socket.group and socket.allow_uids.\n" +
			"The system's lets members of the group edged in: sudo adduser $USER edged, and log in again."
	case errors.As(err, &refused):
		return exitRefused, recomputeHint(refused)
	case errors.Is(err, errNoSession), errors.Is(err, errAmbiguous):
		return exitRefused, ""
	case errors.Is(err, errBelowBar):
		return exitBelowBar, ""
	case errors.Is(err, daemon.ErrStoreDamaged):
		return exitDamaged, ""
	case errors.Is(err, daemon.ErrStoreInUse):
		return exitInUse, ""
	case errors.Is(err, daemon.ErrUnwell):
		return exitUnwell, ""
	case errors.As(err, &config), errors.Is(err, daemon.ErrNoModel):
		return exitConfig, ""
	}
	return exitFailure, ""
}
