package ipc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// errEnded is what an engine gets that emits after Generate has returned.
var errEnded = errors.New("the answer has ended")

// streaming is one answer on its way out as server-sent events.
type streaming struct {
	w         *response
	out       *outbox
	keepAlive *time.Timer
	interval  time.Duration
	spare     []byte

	mu     sync.Mutex // guards format: the engine's goroutines and pump use it
	format format
}

// outcome is what Generate returned.
type outcome struct {
	res Result
	err error
}

// stream runs the engine in a goroutine of its own and sends what it emits. It
// returns after the engine has.
func (s *Server) stream(w *response, r *http.Request, j *job, f format) (Result, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	st := &streaming{w: w, format: f, out: newOutbox(maxUnread), interval: time.Duration(s.keepAlive.Load())}
	opening, err := encodeEvents(f.first())
	if err != nil {
		return Result{}, err
	}
	done := make(chan outcome, 1)
	go func() {
		res, err := s.generate(ctx, j, st)
		st.end()
		done <- outcome{res, err}
	}()

	ended := st.awaitStart(done)
	if ended != nil && ended.err != nil && !st.out.started() {
		return ended.res, ended.err // still time for a proper status
	}
	if err := st.begin(opening); err != nil {
		cancel(err)
	}
	if ended == nil {
		ended = st.pump(done, cancel)
	}
	if clientGone(ctx) {
		return ended.res, errors.Join(ended.err, context.Cause(ctx))
	}
	return ended.res, s.endStream(st, ended)
}

// awaitStart waits until the engine has accepted the request or ended, but no
// longer than headerGrace: clients wait for the headers.
func (st *streaming) awaitStart(done <-chan outcome) *outcome {
	grace := time.NewTimer(headerGrace)
	defer grace.Stop()
	select {
	case o := <-done:
		return &o
	case <-st.out.ready:
		st.out.signal() // for pump
	case <-grace.C:
	}
	return nil
}

// begin sends the headers and the first events.
func (st *streaming) begin(opening []byte) error {
	h := st.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no")
	st.keepAlive = time.NewTimer(st.interval)
	st.w.WriteHeader(http.StatusOK)
	return st.write(opening)
}

// pump sends what the engine emits until it ends. When the client is gone, it
// cancels the engine and waits for it.
func (st *streaming) pump(done <-chan outcome, cancel context.CancelCauseFunc) *outcome {
	defer st.keepAlive.Stop()
	for {
		var err error
		select {
		case o := <-done:
			return &o
		case <-st.out.ready:
			err = st.flush()
		case <-st.keepAlive.C:
			err = st.idle()
		}
		if err != nil {
			cancel(err)
			o := <-done
			return &o
		}
	}
}

// delta implements sink. It encodes at once, as the engine may reuse d.
func (st *streaming) delta(choice int, d Delta) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	var events []event
	if d.Progress != nil {
		events = st.format.progress(*d.Progress)
	}
	return st.put(append(events, st.format.delta(choice, d)...))
}

// finish implements sink.
func (st *streaming) finish(choice int, res Result) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.put(st.format.finish(choice, res))
}

func (st *streaming) put(events []event) error {
	p, err := encodeEvents(events)
	if err != nil {
		return err
	}
	return st.out.put(p)
}

// idle tells a client that has got nothing for long that it has not been
// forgotten, behind what is queued: some formats number their events.
func (st *streaming) idle() error {
	st.keepAlive.Reset(st.interval)
	if !st.sign() {
		return nil // the answer has ended, which pump is about to learn
	}
	return st.flush()
}

// sign queues a sign of life, unless the answer has ended: a number that the
// format gives to an event must be sent.
func (st *streaming) sign() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.out.put(nil) == nil && st.out.put(st.format.alive()) == nil
}

// end lets nothing more in: what the format makes from now on is sent by endStream.
func (st *streaming) end() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.out.close(errEnded)
}

// endStream sends the rest of the answer, or the error that ended it.
func (s *Server) endStream(st *streaming, o *outcome) error {
	if err := st.flush(); err != nil {
		return err
	}
	var events []event
	if o.err != nil {
		events = st.format.failed(s.failure(st.w.id, o.err))
	} else {
		events = st.format.last(o.res)
	}
	p, err := encodeEvents(events)
	if err != nil {
		return errors.Join(o.err, err)
	}
	return errors.Join(o.err, st.write(p))
}

func (st *streaming) flush() error {
	p := st.out.take(st.spare)
	st.spare = p
	if len(p) == 0 {
		return nil
	}
	return st.write(p)
}

// write sends p now. A client that does not take it in time is given up.
func (st *streaming) write(p []byte) error {
	if err := st.w.ctl.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return fmt.Errorf("set write deadline: %w", err)
	}
	if _, err := st.w.Write(p); err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	if err := st.w.ctl.Flush(); err != nil {
		return fmt.Errorf("flush event: %w", err)
	}
	st.keepAlive.Reset(st.interval)
	return nil
}
