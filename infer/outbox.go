package infer

import (
	"sync"

	"edged/infer/sample"
	"edged/infer/tok"
)

// What a caller may leave unread before its request is paused.
const (
	maxUnreadTok   = 256
	maxUnreadBytes = 64 << 10
)

// outbox carries a task's output from the owner to the goroutine of its
// caller. The owner never waits for the reader.
type outbox struct {
	notify chan struct{} // [1] something is to be taken

	mu     sync.Mutex // guards everything that follows
	batch  batch
	nTok   int // tokens in batch
	result Result
	err    error
	done   bool
}

// batch is output that has not been taken.
type batch struct {
	text     []byte
	probs    []prob
	tops     []sample.TokenProb // alternatives of all probs, one after the other
	progress Progress
	fresh    bool // progress changed
}

// prob is a sampled token's log probability with the number of alternatives.
type prob struct {
	id      int32
	logprob float32
	nTop    int
}

func newOutbox() *outbox { return &outbox{notify: make(chan struct{}, 1)} }

func (o *outbox) signal() {
	select {
	case o.notify <- struct{}{}:
	default:
	}
}

func (o *outbox) setProgress(p Progress) {
	o.mu.Lock()
	o.batch.progress, o.batch.fresh = p, true
	o.mu.Unlock()
	o.signal()
}

// put appends text and the log probabilities that belong to it.
func (o *outbox) put(text []byte, probs []prob, tops []sample.TokenProb) {
	o.mu.Lock()
	o.nTok++
	o.batch.text = append(o.batch.text, text...)
	o.batch.probs = append(o.batch.probs, probs...)
	o.batch.tops = append(o.batch.tops, tops...)
	o.mu.Unlock()
	if len(text) > 0 || len(probs) > 0 {
		o.signal()
	}
}

// finish closes the outbox; what is in it can still be taken.
func (o *outbox) finish(r Result, err error) {
	o.mu.Lock()
	o.result, o.err, o.done = r, err, true
	o.mu.Unlock()
	o.signal()
}

// full says that the reader is too far behind for more.
func (o *outbox) full() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.isFull()
}

func (o *outbox) isFull() bool {
	return o.nTok >= maxUnreadTok || len(o.batch.text) >= maxUnreadBytes
}

// take swaps the unread batch with the reader's old one, whose memory the
// owner fills next, and reports whether the outbox was full.
func (o *outbox) take(d *delivery) (wasFull bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	wasFull = o.isFull()
	o.batch, d.batch = d.batch, o.batch
	o.batch.text, o.batch.probs, o.batch.tops, o.batch.fresh = o.batch.text[:0], o.batch.probs[:0], o.batch.tops[:0], false
	o.nTok = 0
	d.result, d.err, d.done = o.result, o.err, o.done
	return wasFull
}

// delivery is the reader's side: the batch that was taken and the memory in
// which its Delta is built.
type delivery struct {
	batch    batch
	result   Result
	err      error
	done     bool
	progress Progress
	probs    []TokenLogprob
	tops     []TokenLogprob
}

// emit passes the batch on. An empty one is not worth a call.
func (d *delivery) emit(t *tok.Tokenizer, emit func(Delta) error) error {
	out := Delta{Text: d.batch.text}
	if d.batch.fresh {
		d.progress = d.batch.progress
		out.Progress = &d.progress
	}
	d.probs, d.tops = d.probs[:0], d.tops[:0]
	for _, alt := range d.batch.tops {
		d.tops = append(d.tops, TokenLogprob{ID: alt.ID, Bytes: []byte(t.Token(alt.ID)), Logprob: alt.Logprob})
	}
	tops := d.tops
	for _, p := range d.batch.probs {
		l := TokenLogprob{ID: p.id, Bytes: []byte(t.Token(p.id)), Logprob: p.logprob}
		l.Top, tops = tops[:p.nTop:p.nTop], tops[p.nTop:]
		d.probs = append(d.probs, l)
	}
	out.Logprobs = d.probs
	if len(out.Text) == 0 && len(out.Logprobs) == 0 && out.Progress == nil {
		return nil
	}
	return emit(out)
}
