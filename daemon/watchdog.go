package daemon

import (
	"fmt"
	"time"

	"edged/infer"
)

// stuckAfter is how long a request may run without any step ending before the
// engine counts as stuck. The longest honest step, a prefill chunk of a large
// model on a slow processor, takes well under a minute.
const stuckAfter = 2 * time.Minute

// progressWatch tells a slow engine from a stuck one. It belongs to one goroutine.
type progressWatch struct {
	status func() infer.Status
	now    func() time.Time

	lastStep time.Time // as last reported
	since    time.Time // when it was last seen idle or advancing
}

func newProgressWatch(status func() infer.Status) *progressWatch {
	return &progressWatch{status: status, now: time.Now}
}

// check returns an error when, for stuckAfter, requests run but no step has
// ended, or the engine has failed and nobody has brought it back. A restart is
// then better than 503 for every request.
func (w *progressWatch) check() error {
	s := w.status()
	now := w.now()
	waiting := s.Running > 0 || s.State == infer.Failed
	if !waiting || s.LastStep != w.lastStep || w.since.IsZero() {
		w.lastStep, w.since = s.LastStep, now
		return nil
	}
	idle := now.Sub(w.since)
	switch {
	case idle <= stuckAfter:
		return nil
	case s.State == infer.Failed:
		return fmt.Errorf("the engine has failed for %v: %s", idle.Round(time.Second), s.Reason)
	}
	return fmt.Errorf("%d requests are running, but no step has ended for %v", s.Running, idle.Round(time.Second))
}
