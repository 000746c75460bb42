package ipc

import "sync"

// outbox holds the part of a stream that its client has not taken yet, so that
// the engine never waits for a client.
type outbox struct {
	limit int           // bytes
	ready chan struct{} // capacity 1: something was put

	mu      sync.Mutex // guards everything that follows
	queued  []byte
	touched bool // put was called
	closed  error
}

func newOutbox(limit int) *outbox {
	return &outbox{limit: limit, ready: make(chan struct{}, 1)}
}

// put queues p, which may be empty to say only that the engine is at work. It
// fails for good once more than limit bytes wait.
func (o *outbox) put(p []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed != nil {
		return o.closed
	}
	if len(o.queued)+len(p) > o.limit {
		o.closed = errSlowClient
		return o.closed
	}
	o.queued = append(o.queued, p...)
	o.touched = true
	o.signal()
	return nil
}

// take removes what is queued. The caller may give back an earlier result as
// spare, to be filled again.
func (o *outbox) take(spare []byte) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.queued
	o.queued = spare[:0]
	return p
}

// started reports whether put was ever called.
func (o *outbox) started() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.touched
}

// close makes every further put fail with err.
func (o *outbox) close(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed == nil {
		o.closed = err
	}
}

// signal makes ready fire once more.
func (o *outbox) signal() {
	select {
	case o.ready <- struct{}{}:
	default:
	}
}
