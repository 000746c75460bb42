package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"edged/infer"
	"edged/ipc"
	"edged/store"
)

// turns are the sessions that answer a request now: one at a time, because each
// turn goes on from the one before, and none while the session is deleted. It may
// be used from any goroutine.
type turns struct {
	mu      sync.Mutex
	running map[turnKey]turnInfo
}

type turnKey struct {
	uid uint32
	id  string
}

type turnInfo struct {
	by    string // what has claimed the session
	since time.Time
}

// begin claims a session for a request or a deletion. end must be called.
func (t *turns) begin(uid uint32, id, by string) (end func(), err error) {
	k := turnKey{uid, id}
	t.mu.Lock()
	defer t.mu.Unlock()
	if other, busy := t.running[k]; busy {
		return nil, other.busyError(id)
	}
	if t.running == nil {
		t.running = map[turnKey]turnInfo{}
	}
	t.running[k] = turnInfo{by, time.Now()}
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.running, k)
	}, nil
}

func (i turnInfo) busyError(id string) error {
	return &ipc.Error{Kind: ipc.KindConflict, Code: ipc.CodeSessionBusy, Param: "session",
		Message: fmt.Sprintf("session %s is busy with %s, which began %v ago; wait for it or cancel it", id, i.by, time.Since(i.since).Round(time.Second))}
}

// turn is one request of a session on its way.
type turn struct {
	user  store.User
	quota *quota
	sess  store.Session
	req   *ipc.Request // Messages are the new ones only

	writing   sync.Mutex      // a checkpoint may still be written when the answer is there
	thought   strings.Builder // of the answer
	answer    strings.Builder
	calls     toolCalls // of the answer
	recompute string    // why the stored payload is not used, "" when it is
	textOnly  string    // why the turn was stored without its payload, "" when it was with it
}

// generateTurn answers a request that names a session: what the session has, the
// new messages, and the answer become its next turn.
func (a *adapter) generateTurn(ctx context.Context, req *ipc.Request, emit func(ipc.Delta) error) (ipc.Result, error) {
	end, err := a.turns.begin(req.UID, req.Session, "request "+req.ID)
	if err != nil {
		return ipc.Result{}, err
	}
	defer end()
	t := &turn{user: a.store.User(req.UID), quota: &a.quota, req: req}
	r, err := a.request(t)
	if err != nil {
		return ipc.Result{}, sessionError(req.Session, err)
	}
	res, err := a.answer(ctx, t, r, emit)
	if t.useless(err) && req.Recompute && t.answer.Len()+t.thought.Len() == 0 {
		res, err = a.answerFromText(ctx, t, emit)
	}
	if err != nil {
		return ipc.Result{}, ipcError(t.refusal(err))
	}
	out := ipcResult(res)
	out.Session = t.result(res)
	// A session's name is its user's: the condition does not tell it.
	reason := ""
	if !out.Session.Durable || t.textOnly != "" {
		reason = "a turn was answered, but could not be stored whole: " + req.ID
	}
	put(a.health, sessionUnsaved, reason)
	return out, nil
}

// answer generates the turn's answer, and notes it.
func (a *adapter) answer(ctx context.Context, t *turn, r *infer.Request, emit func(ipc.Delta) error) (infer.Result, error) {
	return a.engine.Generate(ctx, r, func(d infer.Delta) error {
		t.thought.Write(d.Thought)
		t.answer.Write(d.Text)
		out := ipcDelta(t.req.ID, d)
		t.calls.add(out.Calls)
		return emit(out)
	})
}

// answerFromText is answer without what is stored beside the session's text.
func (a *adapter) answerFromText(ctx context.Context, t *turn, emit func(ipc.Delta) error) (infer.Result, error) {
	t.recompute = "no answer came of what was stored"
	if err := t.demote(t.sess.Key); err != nil {
		return infer.Result{}, err
	}
	r, err := a.request(t)
	if err != nil {
		return infer.Result{}, err
	}
	return a.answer(ctx, t, r, emit)
}

// stored says whether the session has any payload.
func (t *turn) stored() bool { return t.sess.Blocks > 0 || t.sess.Tail }

// useless says that no answer comes of the session's payload: an import may hold anything.
func (t *turn) useless(err error) bool { return errors.Is(err, infer.ErrNoLogits) && t.stored() }

// refusal is sessionError, but of a session without messages there is nothing to fork
// or to sum up, and of a useless one the text can be read again.
func (t *turn) refusal(err error) error {
	if t.sess.Messages == 0 && errors.As(err, new(*infer.ContextError)) {
		return err
	}
	if t.useless(err) {
		return &ipc.Error{Kind: ipc.KindStorage, Code: ipc.CodeSessionDamaged, Param: "session", Err: err,
			Message: fmt.Sprintf("no answer comes of what is stored of session %s; \"recompute\": true reads its %d tokens again", t.sess.ID, t.sess.Tokens)}
	}
	return sessionError(t.req.Session, err)
}

// request reads a session and makes the engine's request of it.
func (a *adapter) request(t *turn) (*infer.Request, error) {
	var err error
	if t.sess, err = t.user.Get(t.req.Session); err != nil {
		return nil, err
	}
	if key, ok := a.engine.SnapshotKey(t.req.Model); ok {
		// Before anything is computed: what does not fit is refused, or given up.
		if err := t.fit(key); err != nil {
			return nil, err
		}
	}
	stored, err := t.user.Messages(t.req.Session)
	if err != nil {
		return nil, err
	}
	whole, session := *t.req, &infer.Session{ID: t.sess.ID, Blocks: t.sess.Blocks}
	whole.Messages = nil
	for i, m := range stored {
		msg, err := decodeMessage(m.Body)
		if err != nil {
			return nil, fmt.Errorf("message %d: %w: %w", i, store.ErrCorrupt, err)
		}
		whole.Messages = append(whole.Messages, msg)
		session.Tokens = append(session.Tokens, m.Tokens...)
	}
	whole.Messages = append(whole.Messages, t.req.Messages...)
	r, err := inferRequest(&whole, *a.defaults.Load())
	if err != nil {
		return nil, err
	}
	r.Session, r.Keeper = session, t
	return r, nil
}

// fit refuses a session whose payload another model, policy or build has made,
// or gives the payload up when the request allows that.
func (t *turn) fit(key infer.Key) error {
	if t.sess.Key.Equal(storeKey(key)) {
		return nil
	}
	if t.stored() && !t.req.Recompute {
		return &ipc.Error{Kind: ipc.KindConflict, Code: ipc.CodeSessionMismatch, Param: "session",
			Message: fmt.Sprintf("session %s was stored for model %s, and what is stored cannot be read by model %s as it is served now (%s); "+
				`"recompute": true reads its %d tokens again`, t.sess.ID, t.sess.Model, t.req.Model, t.differing(key), t.sess.Tokens)}
	}
	if t.stored() {
		t.recompute = "another model or cache format: " + t.differing(key)
	}
	return t.demote(storeKey(key))
}

// differing says what makes the session's payload unreadable.
func (t *turn) differing(is infer.Key) string {
	if was := t.sess.Key.Policy; was != is.Policy {
		return fmt.Sprintf("its cache policy was %q and is %q", was, is.Policy)
	}
	s := "its weights, their quantization, the cache's format or this program's version of it have changed"
	if t.sess.Model == t.req.Model && strings.HasPrefix(is.Policy, "auto") {
		s += fmt.Sprintf("; the format is %q now: policy %q chooses it by engine.host_memory and what is free at start", is.Cache, is.Policy)
	}
	return s
}

// demote gives the session's payload up.
func (t *turn) demote(key store.Key) (err error) {
	t.sess, err = t.user.Demote(t.sess.ID, key, t.req.Model)
	return err
}

// result says what has become of the turn.
func (t *turn) result(res infer.Result) *ipc.SessionResult {
	s := &ipc.SessionResult{ID: t.sess.ID, Title: t.sess.Title, Durable: res.Unsaved == nil, Messages: t.sess.Messages, Recomputed: t.recompute, Reason: t.textOnly}
	if res.Recomputed != nil {
		s.Recomputed = t.reason(res.Recomputed)
	}
	if res.Unsaved != nil {
		s.Reason = t.reason(res.Unsaved)
	}
	return s
}

// reason is an error for a client.
func (t *turn) reason(err error) string {
	var e *ipc.Error
	if errors.As(sessionError(t.sess.ID, err), &e) {
		return e.Message
	}
	return err.Error()
}
