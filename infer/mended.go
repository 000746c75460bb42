package infer

import "edged/infer/gguf"

// fileOf tells what a model's file is now from what it was.
func (o *owner) fileOf(model string) string {
	m, _ := o.cfg.model(model)
	return gguf.Stamp(m.Path)
}

// mended begins to load the model that could not be loaded, when its file is another
// one than that which was tried. A file that stays bad is not read again and again.
func (o *owner) mended() bool {
	e := o.e
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.broken || e.closed || e.draining {
		return false
	}
	now := o.fileOf(e.served)
	if now == o.tried {
		return false
	}
	o.log.Info("the model's file is another one; it is loaded", "model", e.served)
	o.tried = now
	e.state, e.progress = Loading, LoadProgress{Model: e.served}
	e.loads = append(e.loads, &loadCall{model: e.served, done: make(chan error, 1)})
	e.announce()
	return true
}
