package daemon

import (
	"context"
	"errors"
	"log/slog"

	"edged/infer"
	"edged/ipc"
	"edged/offload"
	"edged/store"
)

var _ infer.Keeper = (*turn)(nil)

// Open implements infer.Keeper: the session's own payload, or, while it has none,
// what other sessions of the user have stored of the same tokens.
func (t *turn) Open(_ context.Context, key infer.Key, tokens []int32) (infer.Snapshot, error) {
	if err := t.fit(key); err != nil {
		return nil, err
	}
	if !t.stored() {
		return openPrefix(t.user, key, tokens)
	}
	snap, err := t.user.Restore(t.sess.ID, storeKey(key))
	if err != nil {
		return nil, err
	}
	return &storedSequence{snap}, nil
}

// Save implements infer.Keeper: it makes the turn durable. Where there is no room
// for its payload, the text alone is stored.
func (t *turn) Save(ctx context.Context, key infer.Key, s *infer.Saved) error {
	t.writing.Lock()
	defer t.writing.Unlock()
	if err := t.fit(key); err != nil {
		return err
	}
	if s.Recomputed != nil && t.sess.Blocks > 0 { // what is stored may be damaged
		if err := t.demote(storeKey(key)); err != nil {
			return err
		}
	}
	next := t.next(s)
	sess, err := t.sess, t.quota.fits(t.user, t.sess.ID, t.sess.Bytes+payloadBytes(next))
	if err == nil {
		sess, err = t.user.Commit(ctx, t.sess.ID, next)
	}
	if full := err; err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
		next.Blocks, next.Tail = nil, nil
		if sess, err = t.user.Commit(ctx, t.sess.ID, next); err == nil {
			t.textOnly = "only the text is stored, its tokens will be computed again: " + t.reason(full)
		}
	}
	if err != nil {
		return err
	}
	t.sess = sess
	return nil
}

// payloadBytes is about what a turn adds to its session.
func payloadBytes(next store.Turn) (n int64) {
	payloads := []store.Payload{next.Tail}
	for _, b := range next.Blocks {
		payloads = append(payloads, b.Parts)
	}
	for _, p := range payloads {
		for _, part := range p {
			n += part.Size
		}
	}
	return n
}

// Stage implements infer.Keeper.
func (t *turn) Stage(ctx context.Context, key infer.Key, s *infer.Staged) error {
	t.writing.Lock()
	defer t.writing.Unlock()
	if err := t.fit(key); err != nil {
		return err
	}
	st := store.Stage{After: t.sess.Messages, Tokens: s.Tokens, First: s.First(), Tail: storePayload(s.Tail)}
	for i := range s.Blocks() {
		st.Blocks = append(st.Blocks, storePayload(s.Block(i)))
	}
	_, err := t.user.Stage(ctx, t.sess.ID, st)
	return err
}

// next is the turn as the store takes it.
func (t *turn) next(s *infer.Saved) store.Turn {
	next := store.Turn{After: t.sess.Messages, Drop: t.sess.Tokens - s.Same, Tail: storePayload(s.Tail())}
	for _, m := range t.req.Messages {
		next.Messages = append(next.Messages, store.Message{Role: m.Role, Body: encodeMessage(m)})
	}
	// A template's tokens cannot be told apart by messages in general: those of all
	// new ones are the last one's.
	next.Messages[len(next.Messages)-1].Tokens = s.Tokens[s.Same:s.Prompt]
	answer := ipc.Message{Role: "assistant", Content: t.answer.String(), Reasoning: t.thought.String(), ToolCalls: t.calls.json(), Note: t.req.Note}
	next.Messages = append(next.Messages, store.Message{Role: answer.Role, Body: encodeMessage(answer), Tokens: s.Tokens[s.Prompt:]})
	for i := min(t.sess.Blocks, s.Same/store.BlockTok); i < s.Blocks(); i++ {
		b := store.Block{Provenance: store.Decoded, Parts: storePayload(s.Block(i))}
		if i < s.Exact {
			b.Provenance = store.ExactPrefill
		}
		next.Blocks = append(next.Blocks, b)
	}
	return next
}

// prefixes finds, for a request without a session, what the user's sessions have
// stored of the same tokens. It writes nothing.
type prefixes struct {
	user store.User
	log  *slog.Logger
}

var _ infer.Keeper = prefixes{}

// Open implements infer.Keeper. The request can do without the store, and does
// when it fails.
func (p prefixes) Open(_ context.Context, key infer.Key, tokens []int32) (infer.Snapshot, error) {
	snap, err := openPrefix(p.user, key, tokens)
	if err != nil {
		p.log.Warn("stored sessions cannot be searched for a prompt's begin", "err", err)
		return nil, nil
	}
	return snap, nil
}

// Stage implements infer.Keeper; it is not called.
func (p prefixes) Stage(ctx context.Context, key infer.Key, _ *infer.Staged) error {
	return p.Save(ctx, key, nil)
}

// Save implements infer.Keeper; it is not called.
func (prefixes) Save(context.Context, infer.Key, *infer.Saved) error {
	return errors.New("a request without a session is not stored")
}

// openPrefix is nil without an error when nothing is stored.
func openPrefix(u store.User, key infer.Key, tokens []int32) (infer.Snapshot, error) {
	snap, err := u.Prefix(storeKey(key), tokens)
	if err != nil {
		return nil, err
	}
	if len(snap.Blocks) == 0 {
		return nil, snap.Close()
	}
	return &storedSequence{snap}, nil
}

// storedSequence makes a store's snapshot look as the engine wants it.
type storedSequence struct{ snap *store.Snapshot }

var _ infer.Snapshot = (*storedSequence)(nil)

// Shape implements infer.Snapshot. Blocks that a file has brought are not exact,
// whatever it says: other sessions must not go on from them.
func (s *storedSequence) Shape() infer.Shape {
	shape := infer.Shape{Blocks: len(s.snap.Blocks), Tail: len(s.snap.Tail) > 0}
	for shape.Exact < shape.Blocks && s.snap.Blocks[shape.Exact].Shared {
		shape.Exact++
	}
	return shape
}

// Fill implements infer.Snapshot.
func (s *storedSequence) Fill(ctx context.Context, from int, place func(infer.Span) ([]offload.Target, error)) error {
	return s.snap.Fill(ctx, from, func(x store.Span) ([]store.Target, error) { return storeTargets(place(infer.Span(x))) })
}

// Close implements infer.Snapshot.
func (s *storedSequence) Close() error { return s.snap.Close() }

func storeKey(k infer.Key) store.Key {
	return store.Key{Fingerprint: k.Fingerprint, Policy: k.Policy}
}

func storePayload(parts []offload.Part) store.Payload {
	var p store.Payload
	for _, part := range parts {
		p = append(p, store.Part{ID: part.ID, Size: part.Size(), Data: part.All()})
	}
	return p
}

func storeTargets(to []offload.Target, err error) ([]store.Target, error) {
	if to == nil || err != nil {
		return nil, err
	}
	out := make([]store.Target, len(to))
	for i, t := range to {
		out[i] = store.Target(t)
	}
	return out, nil
}
