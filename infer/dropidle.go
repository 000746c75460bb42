package infer

// DropIdle gives up half of the finished sequences that are kept for their
// prefixes, those that were used longest ago first, and gives the memory of free
// pages back to the system where it is neither locked nor a device's. What
// runs or is being saved is not touched; a session goes on from where it is
// stored. It returns at once: the work is done between steps.
func (e *Engine) DropIdle() {
	e.mu.Lock()
	e.dropIdle = true
	e.mu.Unlock()
	e.wakeOwner()
}

// takeDrop says whether DropIdle was called. Engine.mu is held.
func (o *owner) takeDrop() bool {
	drop := o.e.dropIdle
	o.e.dropIdle = false
	return drop
}

func (o *owner) giveUpIdle() {
	if o.res == nil {
		return
	}
	n := 0
	for range (len(o.kept) + 1) / 2 {
		if i := o.oldest(); i >= 0 { // else all are being saved
			o.forget(i)
			n++
		}
	}
	var bytes int64
	if o.e.device == nil && !o.cfg.LockKV {
		var err error
		if bytes, err = o.res.pool.Discard(); err != nil {
			o.log.Warn("memory of free pages stays with the process", "error", err)
		}
	}
	if n > 0 {
		o.log.Info("idle conversations given up for want of memory", "conversations", n, "left", len(o.kept), "free_page_bytes", bytes)
	}
}
