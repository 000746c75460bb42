package ipc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// errEnded is what an engine gets that emits after Generate has returned.
var errEnded = errors.New("the answer has ended")

// keepAliveComment is not ": ping", at which one widespread client stops reading,
// and carries neither id nor retry, which make another fail.
var keepAliveComment = []byte(": keepalive\n\n")

var doneEvent = []byte("data: [DONE]\n\n")

// streaming is one answer on its way out as server-sent events.
type streaming struct {
	w         *response
	out       *outbox
	keepAlive *time.Timer
	interval  time.Duration
	spare     []byte
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
	st := &streaming{w: w, out: newOutbox(maxUnread), interval: time.Duration(s.keepAlive.Load())}
	done := make(chan outcome, 1)
	go func() {
		res, err := s.generate(ctx, j, func(d Delta) error { return st.emit(j, f, d) })
		st.out.close(errEnded)
		done <- outcome{res, err}
	}()

	ended := st.awaitStart(done)
	if ended != nil && ended.err != nil && !st.out.started() {
		return ended.res, ended.err // still time for a proper status
	}
	if err := st.begin(f); err != nil {
		cancel(err)
	}
	if ended == nil {
		ended = st.pump(done, cancel)
	}
	if clientGone(ctx) {
		return ended.res, errors.Join(ended.err, context.Cause(ctx))
	}
	return ended.res, s.endStream(st, j, f, ended)
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

// begin sends the headers and the first chunk.
func (st *streaming) begin(f format) error {
	h := st.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no")
	st.keepAlive = time.NewTimer(st.interval)
	p, err := event(f.first())
	if err != nil {
		return err
	}
	st.w.WriteHeader(http.StatusOK)
	return st.write(p)
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
			err = st.write(keepAliveComment)
		}
		if err != nil {
			cancel(err)
			o := <-done
			return &o
		}
	}
}

// emit is what the engine calls. It encodes at once, as the engine may reuse d.
func (st *streaming) emit(j *job, f format, d Delta) error {
	p, err := event(f.delta(d))
	if err != nil {
		return err
	}
	if d.Progress != nil && j.includeProgress {
		more, err := event(f.progress(*d.Progress))
		if err != nil {
			return err
		}
		p = append(more, p...)
	}
	return st.out.put(p)
}

// endStream sends the rest of the answer, or the error that ended it.
func (s *Server) endStream(st *streaming, j *job, f format, o *outcome) error {
	if err := st.flush(); err != nil {
		return err
	}
	if o.err != nil {
		// No [DONE] follows: the answer is not complete.
		fail := s.failure(st.w.id, o.err)
		p, err := event(fail.body())
		if err != nil {
			return errors.Join(o.err, err)
		}
		return errors.Join(o.err, st.write(p))
	}
	last := []any{f.finish(o.res)}
	if j.includeUsage {
		last = append(last, f.usage(o.res))
	}
	var out []byte
	for _, v := range last {
		p, err := event(v)
		if err != nil {
			return err
		}
		out = append(out, p...)
	}
	return st.write(append(out, doneEvent...))
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

// event encodes v as one server-sent event, or as nothing when v is nil.
func event(v any) ([]byte, error) {
	if v == nil {
		return nil, nil
	}
	p, err := marshal(v)
	if err != nil {
		return nil, err
	}
	return append(append([]byte("data: "), p...), "\n\n"...), nil
}
