package daemon

import (
	"fmt"
	"time"

	"edged/infer"
)

const (
	// stuckAfter is how long requests may run or wait without any step ending
	// before the engine counts as stuck, where its steps are short.
	stuckAfter = 2 * time.Minute
	// stuckSteps is the same for long ones, in steps: prompts grow slower with the
	// context, but not at once, and an honest chunk at 128k tokens may take minutes
	// on a slow processor.
	stuckSteps = 5
	// stuckLoad is how long a load may bring no byte: large memory is cleared and
	// locked, and a driver translates kernels, without a word.
	stuckLoad = 10 * time.Minute
)

// progressWatch tells a slow engine from a stuck one. It belongs to one goroutine.
type progressWatch struct {
	status func() infer.Status
	now    func() time.Time

	last    progress      // as last reported
	since   time.Time     // when it was last seen idle or advancing
	longest time.Duration // step of this model
}

// progress is what moves while an engine gets on.
type progress struct {
	model  string
	step   time.Time
	loaded int64 // bytes of a load
	state  infer.State
}

func newProgressWatch(status func() infer.Status) *progressWatch {
	return &progressWatch{status: status, now: time.Now}
}

// check returns an error when, for longer than a step may take, requests run or wait
// but no step has ended, a load does not get on, or the engine has failed for good. A
// restart is then better than 503 for every request. A model that could not be loaded
// is tried again without one.
func (w *progressWatch) check() error {
	s := w.status()
	now := w.now()
	p := progress{model: s.Model, step: s.LastStep, loaded: s.Load.Done, state: s.State}
	if p.model != w.last.model {
		w.longest = 0
	}
	if p.step != w.last.step {
		w.longest = max(w.longest, s.LastStepTime)
	}
	waiting := s.Running+s.Queued > 0 || s.State == infer.Failed && !s.Retries || s.State == infer.Loading
	if !waiting || p != w.last || w.since.IsZero() {
		w.last, w.since = p, now
		return nil
	}
	idle := now.Sub(w.since)
	switch limit := w.limit(s.State); {
	case idle <= limit:
		return nil
	case s.State == infer.Failed:
		return fmt.Errorf("the engine has failed for %v: %s", idle.Round(time.Second), s.Reason)
	case s.State == infer.Loading:
		return fmt.Errorf("loading %s has not got on for %v", s.Load.Model, idle.Round(time.Second))
	}
	return fmt.Errorf("%d requests run and %d wait, but no step has ended for %v", s.Running, s.Queued, idle.Round(time.Second))
}

// limit is how long nothing may move.
func (w *progressWatch) limit(state infer.State) time.Duration {
	if state == infer.Loading {
		return stuckLoad
	}
	return max(stuckAfter, stuckSteps*w.longest)
}
