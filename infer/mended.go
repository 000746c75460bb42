package infer

import (
	"fmt"
	"time"

	"edged/infer/gguf"
)

// triedFile is a model's file as it was when it was last loaded.
type triedFile struct {
	stamp string
	at    time.Time
}

// retrySame is how long a model that could not be loaded is not tried again with the
// same file: what else was in the way may be gone by then, and who asks all the time
// does not make the engine read files all the time.
const retrySame = 10 * time.Second

// fileOf tells what a model's file is now from what it was.
func (e *Engine) fileOf(model string) string {
	m, _ := e.cfg.model(model)
	return gguf.Stamp(m.Path)
}

// tooSoon refuses a request for a model that could not be loaded and is not tried again
// yet, or returns nil. e.mu is held.
func (e *Engine) tooSoon(model string) error {
	if e.state != Failed || model != e.served || time.Since(e.tried.at) >= retrySame || e.fileOf(model) != e.tried.stamp {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrNotLoaded, e.reason)
}

// mended begins to load the model that could not be loaded, when its file is another
// one than that which was tried. A file that stays bad is not read again and again.
func (o *owner) mended() bool {
	e := o.e
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.broken || e.closed || e.draining || e.fileOf(e.served) == e.tried.stamp {
		return false
	}
	o.log.Info("the model's file is another one; it is loaded", "model", e.served)
	e.loadNext(e.served)
	return true
}
