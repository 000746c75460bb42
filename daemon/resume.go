package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"edged/cudakern/driver"
	"edged/infer"
)

// watchSleep lets run know when the machine has slept.
func (d *service) watchSleep(ctx context.Context) {
	err := watchSleep(ctx, func(slept time.Duration) {
		select {
		case d.resumed <- slept:
		default: // one that was not answered yet
		}
	})
	if err != nil {
		d.log.Warn("the end of a sleep will not be noticed", "err", err)
	}
}

// resumeTimeout is what a model gets to decode after the machine has slept: drivers
// bring devices back slowly.
const resumeTimeout = time.Minute

// afterSleep lets the model prove that it still decodes: a device may have lost its
// memory or its context. When it has, only a new process helps. Nothing has to be
// saved before a sleep, because a session is durable when its answer is complete.
func (d *service) afterSleep(ctx context.Context, slept time.Duration) error {
	d.log.Info("the machine has slept", "for", slept.Round(time.Second).String())
	if s := d.engine.Status(); s.State != infer.Ready {
		return nil // a load proves itself, and a failure is known
	}
	ctx, cancel := context.WithTimeoutCause(ctx, resumeTimeout, fmt.Errorf("no token was decoded within %v", resumeTimeout))
	defer cancel()
	d.notify.status("decoding a token after a sleep")
	d.shown.Store(nil)
	if err := d.engine.Prove(ctx, 0); err != nil {
		return fmt.Errorf("after a sleep of %v: %w", slept.Round(time.Second), err)
	}
	d.tellStatus()
	return nil
}

// deviceWaits are the pauses between attempts to open a device. Its driver may be
// loaded after the daemon has been started at boot. After the last one, the
// daemon ends with the reason: it never runs on something else instead.
var deviceWaits = []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second}

// waitForDevice calls open until it succeeds, or fails for another reason than a
// missing device. pause waits, and says why.
func waitForDevice(ctx context.Context, pause func(context.Context, time.Duration, error) error, open func() error) error {
	for _, wait := range deviceWaits {
		err := open()
		if !errors.Is(err, driver.ErrNoDriver) {
			return err
		}
		if err := pause(ctx, wait, err); err != nil {
			return err
		}
	}
	return open()
}

// waitForDevice pauses, and asks the service manager for the time.
func (n notifier) waitForDevice(ctx context.Context, wait time.Duration, err error) error {
	n.log.Warn("waiting for the device", "err", err, "next_try_in", wait.String())
	n.loading("waiting for the device: " + err.Error())
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
