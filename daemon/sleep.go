package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// watchSleep calls resumed, from one goroutine, after the machine has slept, with the
// time that it slept, until ctx ends. It costs nothing meanwhile: the kernel ends
// the wait for a timer of the wall clock when that clock jumps, as it does at the end
// of a sleep. A clock that was merely set is told apart by CLOCK_BOOTTIME, which
// counts sleep and nothing else that CLOCK_MONOTONIC does not.
func watchSleep(ctx context.Context, resumed func(time.Duration)) error {
	jumps, err := newClockJumps()
	if err != nil {
		return err
	}
	slept, err := sleptFor()
	if err != nil {
		return errors.Join(err, jumps.Close())
	}
	stop := context.AfterFunc(ctx, func() { _ = jumps.Close() }) // ends the wait
	go func() {
		defer stop()
		reportSleep(slept, func() error { return jumps.wait() }, sleptFor, resumed)
	}()
	return nil
}

// minSleep is a difference that the two clocks do not have by being read in turn.
const minSleep = 10 * time.Millisecond

// reportSleep reports each growth of the time slept that is found after a wait.
func reportSleep(before time.Duration, wait func() error, sleptFor func() (time.Duration, error), resumed func(time.Duration)) {
	for wait() == nil {
		now, err := sleptFor()
		if err != nil {
			return
		}
		if now-before > minSleep {
			resumed(now - before)
		}
		before = now
	}
}

// clockJumps is a timer that never comes and is cancelled when the clock is set.
type clockJumps struct{ *os.File }

func newClockJumps() (clockJumps, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return clockJumps{}, fmt.Errorf("watch clock: %w", err)
	}
	j := clockJumps{os.NewFile(uintptr(fd), "timerfd")}
	if err := j.arm(); err != nil {
		return clockJumps{}, errors.Join(err, j.Close())
	}
	return j, nil
}

// never is further away than any clock goes, and within what a timer takes.
const never = 1 << 33 // seconds since 1970: the year 2242

func (j clockJumps) arm() error {
	raw, err := j.SyscallConn()
	if err != nil {
		return fmt.Errorf("watch clock: %w", err)
	}
	at := unix.ItimerSpec{Value: unix.Timespec{Sec: never}}
	var setErr error
	if err := raw.Control(func(fd uintptr) {
		setErr = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &at, nil)
	}); err != nil {
		return fmt.Errorf("watch clock: %w", err)
	}
	if setErr != nil {
		return fmt.Errorf("watch clock: %w", setErr)
	}
	return nil
}

// wait returns nil after the clock was set, and an error when the timer is closed.
func (j clockJumps) wait() error {
	var expired [8]byte
	if _, err := j.Read(expired[:]); err != nil && !errors.Is(err, unix.ECANCELED) {
		return fmt.Errorf("watch clock: %w", err)
	}
	return j.arm()
}

// sleptFor is the time that the machine has slept since it was started.
func sleptFor() (time.Duration, error) {
	var boot, mono unix.Timespec
	if err := errors.Join(unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot), unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono)); err != nil {
		return 0, fmt.Errorf("read clocks: %w", err)
	}
	return time.Duration(boot.Nano() - mono.Nano()), nil
}
