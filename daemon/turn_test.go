package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"edged/infer"
	"edged/ipc"
	"edged/offload"
	"edged/store"
)

// desk is a daemon's engine and store without a socket, that can be stopped and
// started again.
type desk struct {
	t          *testing.T
	dir        string
	model      infer.ModelConfig
	others     []infer.ModelConfig // that requests may switch to
	checkpoint time.Duration
	began      float64 // share of the last prompt that did not have to be read
	engine     *infer.Engine
	store      *store.Store
	api        *adapter
}

func newDesk(t *testing.T, policy string, o offload.Options) *desk {
	t.Helper()
	d := &desk{t: t, dir: filepath.Join(t.TempDir(), "sessions"),
		model: infer.ModelConfig{Name: "needle", Path: "../models/needle-26m-q8_0.gguf", Context: 4096, Policy: policy, Cache: o}}
	d.start()
	t.Cleanup(d.stop)
	return d
}

func (d *desk) start() {
	d.t.Helper()
	var err error
	d.engine, err = infer.New(infer.Config{Models: append([]infer.ModelConfig{d.model}, d.others...), AllowSwitch: true, Threads: 2, HostBytes: 1 << 30, MaxSeqs: 2, CacheSeqs: 2, ChunkTok: 256, Checkpoint: d.checkpoint})
	if err != nil {
		d.t.Fatal(err)
	}
	if err := d.engine.Load(d.t.Context(), "", nil); err != nil {
		d.t.Fatal(err)
	}
	d.store = openStore(d.t, d.dir)
	d.api = newAdapter(d.engine, Sampling{TopP: 1, TypicalP: 1, RepeatPenalty: 1}, d.store, slog.New(slog.DiscardHandler))
}

func (d *desk) stop() {
	if d.engine == nil {
		return
	}
	if err := errors.Join(d.engine.Close(), d.store.Close()); err != nil {
		d.t.Error(err)
	}
	d.engine = nil
}

func (d *desk) create(title string) string {
	d.t.Helper()
	s, err := d.store.User(1000).Create(store.New{Title: title, Model: "needle"})
	if err != nil {
		d.t.Fatal(err)
	}
	return s.ID
}

// said is an answer with the bits of its log probabilities.
type said struct {
	Text  string
	Probs []uint64
}

const answerTok = 64

// try asks a session at temperature 0 for exactly answerTok tokens.
func (d *desk) try(ctx context.Context, id, question string, change func(*ipc.Request)) (said, ipc.Result, error) {
	req := &ipc.Request{ID: "r", Model: "needle", UID: 1000, Session: id, MaxTokens: answerTok, Logprobs: true,
		Messages: []ipc.Message{{Role: "user", Content: question}}}
	for id := range int32(16) { // control tokens
		if req.Sampling.LogitBias == nil {
			req.Sampling.LogitBias = map[int32]float64{}
		}
		req.Sampling.LogitBias[id] = -100
	}
	if change != nil {
		change(req)
	}
	var a said
	d.began = -1
	res, err := d.api.Generate(ctx, req, func(x ipc.Delta) error {
		a.Text += x.Text
		if p := x.Progress; p != nil && p.Done > 0 && d.began < 0 {
			d.began = float64(p.Done) / float64(p.Total)
		}
		for _, p := range x.Logprobs {
			a.Probs = append(a.Probs, math.Float64bits(p.Logprob))
		}
		return nil
	})
	return a, res, err
}

func (d *desk) ask(id, question string) (said, ipc.Result) {
	d.t.Helper()
	a, res, err := d.try(d.t.Context(), id, question, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	if res.Session == nil || !res.Session.Durable || res.Session.Reason != "" {
		d.t.Fatalf("the turn is not durable: %+v", res.Session)
	}
	return a, res
}

// novel is a document of about 1,500 tokens with a fact in it.
func novel() string {
	var b strings.Builder
	for i := range 120 {
		if i == 40 {
			b.WriteString("Note: the access code of harbour-lantern is 3141592.\n")
		}
		fmt.Fprintf(&b, "Line %d: the quiet river carries leaf %d.\n", i, 7*i%100)
	}
	return b.String()
}

// desks are all ways to keep a cache.
func desks() map[string]offload.Options {
	return map[string]offload.Options{"full": {}, "q8": {}, "auto": {Sparse: true, Budget: 256}, "tailorkv": {Budget: 192}}
}

// TestResumedSessionGivesTheSameBits asks one session three questions in one
// process, and another with a restart before the third.
func TestResumedSessionGivesTheSameBits(t *testing.T) {
	if testing.Short() {
		t.Skip("evaluates prompts of a real model")
	}
	for policy, o := range desks() {
		t.Run(policy, func(t *testing.T) {
			steady, d := newDesk(t, policy, o), newDesk(t, policy, o)
			var ids []string
			for _, d := range []*desk{steady, d} {
				id := d.create("s")
				ids = append(ids, id)
				if _, res := d.ask(id, novel()+"What is the access code of harbour-lantern?"); res.Session.Messages != 2 {
					t.Errorf("%+v", res.Session)
				}
				d.ask(id, "And once more?")
			}
			want, live := steady.ask(ids[0], "Which leaf is on line 3?")
			steady.stop()
			d.stop()
			d.start()
			broken := ids[1]
			got, res := d.ask(broken, "Which leaf is on line 3?")
			if diff := cmp.Diff(want, got); diff != "" || len(got.Probs) != answerTok {
				t.Errorf("the resumed session answers otherwise: %s", diff)
			}
			if res.CachedTokens != live.CachedTokens || res.Session.Recomputed != "" {
				t.Errorf("%d of %d tokens cached, %d without a restart; recomputed: %q", res.CachedTokens, res.PromptTokens, live.CachedTokens, res.Session.Recomputed)
			}
			check, err := d.store.Check(t.Context(), true)
			if err != nil || len(check.Problems) > 0 {
				t.Errorf("store: %v, %v", check.Problems, err)
			}
			// A fork goes on from what is stored, too, and shares it.
			before, _ := d.store.Stat()
			f, err := d.store.User(1000).Fork(broken, 4, "fork")
			if err != nil {
				t.Fatal(err)
			}
			after, _ := d.store.Stat()
			if after.ChunkDisk != before.ChunkDisk {
				t.Errorf("a fork takes %d bytes", after.ChunkDisk-before.ChunkDisk)
			}
			if _, res := d.ask(f.ID, "Which leaf is on line 3?"); policy != "tailorkv" && res.CachedTokens < 1024 {
				t.Errorf("the fork read %d of %d tokens again", res.PromptTokens-res.CachedTokens, res.PromptTokens)
			}
		})
	}
}

// TestTurnsOfOneSessionAreOneAtATime: the second is refused and names the first.
func TestTurnsOfOneSessionAreOneAtATime(t *testing.T) {
	d := newDesk(t, "full", offload.Options{})
	id := d.create("s")
	var second error
	_, _, err := d.try(t.Context(), id, "Hello?", func(r *ipc.Request) {
		r.ID = "first"
	})
	if err != nil {
		t.Fatal(err)
	}
	end, err := d.api.turns.begin(1000, id, "first")
	if err != nil {
		t.Fatal(err)
	}
	_, _, second = d.try(t.Context(), id, "Hello?", nil)
	var e *ipc.Error
	if !errors.As(second, &e) || e.Kind != ipc.KindConflict || e.Code != ipc.CodeSessionBusy || !strings.Contains(e.Message, "first") {
		t.Errorf("got %v", second)
	}
	end()
	if _, _, err := d.try(t.Context(), id, "Hello?", nil); err != nil {
		t.Error(err)
	}
}

// TestCancelledTurnLeavesTheSessionAsItWas.
func TestCancelledTurnLeavesTheSessionAsItWas(t *testing.T) {
	d := newDesk(t, "full", offload.Options{})
	id := d.create("s")
	d.ask(id, "Hello?")
	before, err := d.store.User(1000).Get(id)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var n int
	_, err = d.api.Generate(ctx, &ipc.Request{ID: "r", Model: "needle", UID: 1000, Session: id, MaxTokens: 50, Messages: []ipc.Message{{Role: "user", Content: "And?"}}},
		func(x ipc.Delta) error {
			if n += len(x.Text); n > 0 {
				cancel()
				return context.Canceled
			}
			return nil
		})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	after, err := d.store.User(1000).Get(id)
	if diff := cmp.Diff(before.Messages, after.Messages); diff != "" || err != nil {
		t.Errorf("%s, %v", diff, err)
	}
	d.ask(id, "And?")
}

// TestSessionsAreTheirUsers: another user's session does not exist.
func TestSessionsAreTheirUsers(t *testing.T) {
	d := newDesk(t, "full", offload.Options{})
	id := d.create("s")
	_, _, err := d.try(t.Context(), id, "Hello?", func(r *ipc.Request) { r.UID = 1001 })
	var e *ipc.Error
	if !errors.As(err, &e) || e.Kind != ipc.KindNotFound {
		t.Errorf("got %v", err)
	}
}

// TestSessionOfAnotherCacheIsRefusedOrComputedAgain.
func TestSessionOfAnotherCacheIsRefusedOrComputedAgain(t *testing.T) {
	if testing.Short() {
		t.Skip("evaluates prompts of a real model")
	}
	d := newDesk(t, "full", offload.Options{})
	id := d.create("s")
	d.ask(id, novel()+"What is the access code of harbour-lantern?")
	d.stop()
	d.model.Policy = "q8"
	d.start()
	_, _, err := d.try(t.Context(), id, "And?", nil)
	var e *ipc.Error
	if !errors.As(err, &e) || e.Code != ipc.CodeSessionMismatch || !strings.Contains(e.Message, `its cache policy was "full" and is "q8"`) || !strings.Contains(e.Message, "recompute") {
		t.Fatalf("got %v", err)
	}
	_, res, err := d.try(t.Context(), id, "And?", func(r *ipc.Request) { r.Recompute = true })
	if err != nil || !res.Session.Durable || res.Session.Recomputed == "" || res.Session.Messages != 4 {
		t.Fatalf("%+v, %v", res.Session, err)
	}
	d.stop()
	d.start()
	if _, res := d.ask(id, "And?"); res.CachedTokens < res.PromptTokens/2 || res.Session.Recomputed != "" {
		t.Errorf("after it was computed again: %d of %d cached, %+v", res.CachedTokens, res.PromptTokens, res.Session)
	}
}

// TestDiffering: why what is stored cannot be read names what has changed, and where
// memory may have done it, that.
func TestDiffering(t *testing.T) {
	was := store.Session{Model: "m", Key: store.Key{Fingerprint: []byte("exact"), Policy: "auto"}}
	for _, c := range []struct{ model, policy, cache, want string }{
		{"m", "q8", "q8 resident", `its cache policy was "auto" and is "q8"`},
		{"m", "auto", "paged q8", `; the format is "paged q8" now: policy "auto" chooses it by engine.host_memory and what is free at start`},
		{"other", "auto", "exact f16", "this program's version of it have changed"},
	} {
		x := &turn{sess: was, req: &ipc.Request{Model: c.model}}
		if got := x.differing(infer.Key{Fingerprint: []byte("other"), Policy: c.policy, Cache: c.cache}); !strings.HasSuffix(got, c.want) {
			t.Errorf("got %q, want %q at its end", got, c.want)
		}
	}
}

// TestTextIsKeptWhenItsPayloadHasNoRoom, and says so.
func TestTextIsKeptWhenItsPayloadHasNoRoom(t *testing.T) {
	d := newDesk(t, "full", offload.Options{})
	if err := d.store.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	if d.store, err = store.Open(t.Context(), store.Options{Dir: d.dir, Budget: 1000}); err != nil {
		t.Fatal(err)
	}
	d.api.store = d.store
	id := d.create("s")
	_, res, err := d.try(t.Context(), id, "Hello?", nil)
	if err != nil || !res.Session.Durable || !strings.Contains(res.Session.Reason, "only the text is stored") || !strings.Contains(res.Session.Reason, "store.budget") {
		t.Fatalf("%+v, %v", res.Session, err)
	}
	d.stop()
	d.start()
	_, res = d.ask(id, "And?")
	if res.Session.Messages != 4 || res.CachedTokens != 0 {
		t.Errorf("%+v, %d cached", res.Session, res.CachedTokens)
	}
}

// TestDocumentOfASessionServesOthers: after a restart, neither a new session nor a
// request without one reads it again.
func TestDocumentOfASessionServesOthers(t *testing.T) {
	if testing.Short() {
		t.Skip("evaluates prompts of a real model")
	}
	d := newDesk(t, "auto", offload.Options{Sparse: true, Budget: 256})
	d.ask(d.create("first"), novel()+"What is the access code of harbour-lantern?")
	one, err := d.store.Stat()
	if err != nil {
		t.Fatal(err)
	}
	d.stop()
	d.start()
	_, res := d.ask(d.create("second"), novel()+"Which leaf is on line 3?")
	if res.CachedTokens < 1024 {
		t.Errorf("a new session: %d of %d tokens cached", res.CachedTokens, res.PromptTokens)
	}
	two, err := d.store.Stat()
	if grown := two.Payload - one.Payload; err != nil || grown > one.Payload/3 {
		t.Errorf("the second session takes %d bytes, the first %d; %v", grown, one.Payload, err)
	}
	d.stop()
	d.start()
	if _, res, err := d.try(t.Context(), "", novel()+"Which leaf is on line 5?", nil); err != nil || res.CachedTokens < 1024 || res.Session != nil {
		t.Errorf("a request without a session: %d of %d tokens cached, %v", res.CachedTokens, res.PromptTokens, err)
	}
	if _, res, err := d.try(t.Context(), "", novel()+"Which leaf is on line 5?", func(r *ipc.Request) { r.UID = 1001 }); err != nil || res.CachedTokens != 0 {
		t.Errorf("another user: %d of %d tokens cached, %v", res.CachedTokens, res.PromptTokens, err)
	}
}

// TestDamagedFilesAreComputedAgain: a flipped bit on the disk costs time, and
// is healed by the turn that finds it.
func TestDamagedFilesAreComputedAgain(t *testing.T) {
	if testing.Short() {
		t.Skip("evaluates prompts of a real model")
	}
	d := newDesk(t, "full", offload.Options{})
	id := d.create("s")
	d.ask(id, novel()+"What is the access code of harbour-lantern?")
	want, _ := d.ask(id, "And?")
	d.stop()
	files, err := filepath.Glob(filepath.Join(d.dir, "chunks", "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		flip(t, f, 5000)
	}
	d.start()
	_, res := d.ask(id, "And?")
	if res.Session.Recomputed == "" || res.CachedTokens != 0 {
		t.Errorf("%+v, %d tokens cached", res.Session, res.CachedTokens)
	}
	check, err := d.store.Check(t.Context(), true)
	if err != nil || len(check.Problems) > 0 {
		t.Errorf("store: %v, %v", check.Problems, err)
	}
	d.stop()
	d.start()
	if a, res := d.ask(id, "And?"); res.Session.Recomputed != "" || len(a.Probs) != len(want.Probs) {
		t.Errorf("once more: %+v", res.Session)
	}
}

// TestStoredValuesThatAreNoNumbers: an import may hold anything. A turn that nothing
// comes of says so, and one that may reads the text again.
func TestStoredValuesThatAreNoNumbers(t *testing.T) {
	if testing.Short() {
		t.Skip("evaluates prompts of a real model")
	}
	d := newDesk(t, "full", offload.Options{})
	good, bad := d.create("good"), d.create("bad")
	d.ask(good, novel()+"What is the access code of harbour-lantern?")
	want, _ := d.ask(good, "And?")
	d.spoil(good, bad)
	d.stop()
	d.start()
	_, _, err := d.try(t.Context(), bad, "And?", nil)
	checkKind(t, "turn", ipc.KindStorage, ipc.CodeSessionDamaged, err)
	got, res, err := d.try(t.Context(), bad, "And?", func(r *ipc.Request) { r.Recompute = true })
	if err != nil || got.Text != want.Text || res.Session.Recomputed == "" {
		t.Errorf("read again: %q, want %q; %+v, %v", got.Text, want.Text, res.Session, err)
	}
	if _, res := d.ask(bad, "And?"); res.Session.Recomputed != "" {
		t.Errorf("once more: %+v", res.Session)
	}
}

// spoil gives session to the first turn of another, with payload that is NaN in float16.
func (d *desk) spoil(from, to string) {
	d.t.Helper()
	u := d.store.User(1000)
	s, err := u.Get(from)
	if err != nil {
		d.t.Fatal(err)
	}
	snap, err := u.Restore(from, s.Key)
	if err != nil {
		d.t.Fatal(err)
	}
	nan := []byte(strings.Repeat("\x00\x7e", 1<<20))
	messages, err := u.Messages(from)
	turn := store.Turn{Messages: messages[:2]}
	for _, b := range snap.Blocks[:min(len(snap.Blocks), (len(messages[0].Tokens)+len(messages[1].Tokens))/offload.BlockTok)] {
		var parts store.Payload
		for _, p := range b.Parts {
			parts = append(parts, store.Part{ID: p.ID, Size: p.Size, Data: func(yield func([]byte, error) bool) { yield(nan[:p.Size], nil) }})
		}
		turn.Blocks = append(turn.Blocks, store.Block{Provenance: store.Decoded, Parts: parts}) // else the other session's would be taken
	}
	_, demoted := u.Demote(to, s.Key, s.Model)
	_, committed := u.Commit(d.t.Context(), to, turn)
	if err := errors.Join(err, snap.Close(), demoted, committed); err != nil {
		d.t.Fatal(err)
	}
}

// TestLongPromptGoesOnAfterABreak cancels a session's first prompt, restarts, and
// asks the same: what had been read is not read again, and the answer is that of
// a session that was never interrupted.
func TestLongPromptGoesOnAfterABreak(t *testing.T) {
	if testing.Short() {
		t.Skip("evaluates prompts of a real model")
	}
	for policy, o := range desks() {
		t.Run(policy, func(t *testing.T) {
			steady, d := newDesk(t, policy, o), newDesk(t, policy, o)
			question := novel() + "What is the access code of harbour-lantern?"
			want, _ := steady.ask(steady.create("s"), question)
			steady.stop()

			d.stop()
			d.checkpoint = 1
			d.start()
			id := d.create("s")
			ctx, cancel := context.WithCancel(t.Context())
			_, err := d.api.Generate(ctx, &ipc.Request{ID: "r", Model: "needle", UID: 1000, Session: id, Messages: []ipc.Message{{Role: "user", Content: question}}},
				func(x ipc.Delta) error {
					if x.Progress != nil && x.Progress.Done > x.Progress.Total*3/4 {
						cancel()
					}
					return ctx.Err()
				})
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("got %v", err)
			}
			d.stop()
			d.start()
			if s, err := d.store.User(1000).Get(id); err != nil || s.Messages != 0 || !s.Tail {
				t.Errorf("after the break: %+v, %v", s, err)
			}
			got, res, err := d.try(t.Context(), id, question, nil)
			if d.began < 0.3 { // three quarters had been read, and saved now and then
				t.Errorf("reading went on from %.0f %%", 100*d.began)
			}
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%v; the answer is another one: %s", err, diff)
			}
			if res.Session.Recomputed != "" || res.Session.Messages != 2 {
				t.Errorf("%+v", res.Session)
			}
			check, err := d.store.Check(t.Context(), true)
			if err != nil || len(check.Problems) > 0 {
				t.Errorf("store: %v, %v", check.Problems, err)
			}
		})
	}
}

func flip(t *testing.T, file string, at int) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at = min(at, len(b)/2)
	b[at] ^= 4
	writeFile(t, file, string(b))
}

// thinker makes a thought of an answer's first piece of text.
type thinker struct{ *infer.Engine }

func (e thinker) Generate(ctx context.Context, req *infer.Request, emit func(infer.Delta) error) (infer.Result, error) {
	first := true
	return e.Engine.Generate(ctx, req, func(d infer.Delta) error {
		if first && len(d.Text) > 0 {
			first = false
			d.Thought, d.Text = d.Text, nil
		}
		return emit(d)
	})
}

// A session keeps what the model has thought apart from what it has answered.
func TestThoughtIsStoredApart(t *testing.T) {
	d := newDesk(t, "full", offload.Options{})
	d.api.engine = thinker{d.engine}
	id := d.create("thoughts")
	var thought, text string
	_, err := d.api.Generate(t.Context(), &ipc.Request{ID: "r", Model: "needle", UID: 1000, Session: id, MaxTokens: 12, Messages: []ipc.Message{{Role: "user", Content: "Hello?"}}},
		func(x ipc.Delta) error {
			thought, text = thought+x.Thought, text+x.Text
			return nil
		})
	if err != nil || thought == "" || text == "" {
		t.Fatalf("thought %q, text %q, %v", thought, text, err)
	}
	messages, err := d.store.User(1000).Messages(id)
	if err != nil || len(messages) != 2 {
		t.Fatal(len(messages), err)
	}
	got, err := decodeMessage(messages[1].Body)
	if diff := cmp.Diff(ipc.Message{Role: "assistant", Content: text, Reasoning: thought}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// A session that has no room for a message says so with the numbers and what can be
// done, and stays as it was.
func TestFullSessionIsToldWhatToDo(t *testing.T) {
	d := newDesk(t, "full", offload.Options{})
	id := d.create("full")
	d.ask(id, "Hello?")
	_, _, err := d.try(t.Context(), id, strings.Repeat("word ", 4096), nil)
	var refused *ipc.Error
	if !errors.As(err, &refused) || refused.Kind != ipc.KindContextLength || refused.NCtx != 4096 || refused.NPrompt < 4096 || refused.Param != "session" ||
		!strings.Contains(refused.Message, fmt.Sprint(refused.NPrompt)) || !strings.Contains(refused.Message, "fork it at an earlier message, or begin a new one with a summary") {
		t.Fatalf("got %+v", err)
	}
	if _, res := d.ask(id, "Still there?"); res.Session.Messages != 4 {
		t.Errorf("%+v", res.Session)
	}
}
