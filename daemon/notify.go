package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
)

// loadExtension is how much longer the service manager waits after each sign
// of progress while a model loads, and while answers are drained.
const loadExtension = 30 * time.Second

// notifier tells the service manager how the daemon is. Without one
// ($NOTIFY_SOCKET unset) it does nothing. It may be used from any goroutine.
type notifier struct{ log *slog.Logger }

func (n notifier) send(lines ...string) {
	if _, err := sd.SdNotify(false, strings.Join(lines, "\n")); err != nil {
		n.log.Warn("notify service manager", "err", err)
	}
}

// loading reports progress and asks for more time.
func (n notifier) loading(text string) { n.send("STATUS="+text, extend(loadExtension)) }

// status replaces the line that the service manager shows.
func (n notifier) status(text string) { n.send("STATUS=" + text) }

// ready ends start-up and reloads.
func (n notifier) ready(text string) { n.send(sd.SdNotifyReady, "STATUS="+text) }

// reloading announces a reload; the time is what Type=notify-reload waits for.
func (n notifier) reloading() { n.send(sd.SdNotifyReloading, sd.SdNotifyMonotonicUsec()) }

// stopping announces the end and asks for the time that draining may take.
func (n notifier) stopping(text string, drain time.Duration) {
	n.send(sd.SdNotifyStopping, "STATUS="+text, extend(drain+loadExtension))
}

func extend(d time.Duration) string {
	return fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", d.Microseconds())
}

// watchdog pings as long as alive says so, at half the interval that the unit
// asks for; it returns when ctx is done or no watchdog is wanted.
func (n notifier) watchdog(ctx context.Context, alive func() error) {
	interval, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		n.log.Warn("read watchdog settings", "err", err)
	}
	if interval <= 0 {
		return
	}
	tick := time.NewTicker(interval / 2)
	defer tick.Stop()
	for {
		if err := alive(); err != nil {
			n.log.Error("watchdog not fed", "err", err)
		} else {
			n.send(sd.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
