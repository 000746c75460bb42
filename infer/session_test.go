package infer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"edged/infer/chat"
	"edged/infer/graph"
	"edged/offload"
)

// archive is sessions in memory, as a store would have them.
type archive struct {
	mu       sync.Mutex
	sessions map[string]*archived
	shared   bool // Open finds exact blocks of other sessions
	opens    int
	reading  func(block int) error // called before each piece
	saving   func()                // called before Save, if set
	staging  func(context.Context) error
	staged   int // checkpoints
}

type archived struct {
	messages []chat.Message
	tokens   []int32
	key      Key
	blocks   [][]offload.Part
	exact    int
	tail     []offload.Part
	staged   map[int][]offload.Part // parts of blocks of a prompt that is being read
}

func newArchive() *archive { return &archive{sessions: map[string]*archived{}} }

func ownParts(parts []offload.Part) []offload.Part {
	var own []offload.Part
	for _, p := range parts {
		var mem []byte
		for b, err := range p.All() {
			if err != nil {
				panic(err) // memory of tests can be read
			}
			mem = append(mem, b...)
		}
		own = append(own, offload.Part{ID: p.ID, Data: []offload.Piece{offload.InMemory(mem)}})
	}
	return own
}

// keeper is the archive for one request.
type keeper struct {
	a  *archive
	id string // "" for requests without a session
}

func (k keeper) Open(_ context.Context, key Key, tokens []int32) (Snapshot, error) {
	k.a.mu.Lock()
	defer k.a.mu.Unlock()
	k.a.opens++
	if s := k.a.sessions[k.id]; s != nil && len(s.staged) > 0 {
		o := &opened1{a: k.a, tail: s.tail}
		for i := range len(s.staged) {
			o.blocks = append(o.blocks, s.staged[i])
		}
		return o, nil
	}
	if s := k.a.sessions[k.id]; s != nil && len(s.blocks) > 0 {
		if !bytes.Equal(s.key.Fingerprint, key.Fingerprint) {
			return nil, errors.New("another model")
		}
		return &opened1{k.a, s.blocks, s.exact, s.tail}, nil
	}
	if k.a.shared {
		for _, s := range k.a.sessions {
			if n := commonPrefix(s.tokens, tokens) / offload.BlockTok; min(n, s.exact) > 0 {
				return &opened1{k.a, s.blocks[:min(n, s.exact)], min(n, s.exact), nil}, nil
			}
		}
	}
	return nil, nil
}

func (k keeper) Save(_ context.Context, key Key, s *Saved) error {
	if k.a.saving != nil {
		k.a.saving()
	}
	k.a.mu.Lock()
	defer k.a.mu.Unlock()
	to := k.a.sessions[k.id]
	if to == nil {
		return errors.New("no such session")
	}
	to.key, to.tokens, to.exact = key, slices.Clone(s.Tokens), s.Exact
	if s.Recomputed != nil {
		to.blocks = nil
	}
	to.blocks = to.blocks[:min(len(to.blocks), s.Same/offload.BlockTok)]
	for i := len(to.blocks); i < s.Blocks(); i++ {
		to.blocks = append(to.blocks, ownParts(s.Block(i)))
	}
	to.tail, to.staged = ownParts(s.Tail()), nil
	return nil
}

func (k keeper) Stage(ctx context.Context, key Key, s *Staged) error {
	if k.a.staging != nil {
		if err := k.a.staging(ctx); err != nil {
			return err
		}
	}
	k.a.mu.Lock()
	defer k.a.mu.Unlock()
	to := k.a.sessions[k.id]
	if len(to.messages) > 0 {
		return errors.New("the session has had a turn meanwhile")
	}
	if to.staged == nil {
		to.staged = map[int][]offload.Part{}
	}
	for i := range s.Blocks() {
		to.staged[s.First()+i] = append(to.staged[s.First()+i], ownParts(s.Block(i))...)
	}
	to.key, to.tail = key, ownParts(s.Tail)
	k.a.staged++
	return nil
}

// opened1 is an open snapshot.
type opened1 struct {
	a      *archive
	blocks [][]offload.Part
	exact  int
	tail   []offload.Part
}

func (o *opened1) Shape() Shape { return Shape{len(o.blocks), o.exact, o.tail != nil} }
func (o *opened1) Close() error { return nil }

func (o *opened1) Fill(ctx context.Context, from int, place func(Span) ([]offload.Target, error)) error {
	give := func(block int, parts []offload.Part) error {
		for _, p := range parts {
			if o.a.reading != nil {
				if err := o.a.reading(block); err != nil {
					return err
				}
			}
			to, err := place(Span{block, p.ID, 0, p.Size()})
			if err := errors.Join(err, ctx.Err()); err != nil {
				return err
			}
			for data := range p.All() {
				for _, x := range to {
					data = data[copy(x.Mem, data):]
				}
			}
		}
		return nil
	}
	for i := from; i < len(o.blocks); i++ {
		if err := give(i, o.blocks[i]); err != nil {
			return err
		}
	}
	return give(TailBlock, o.tail)
}

// turn asks the next question of a session, and returns the answer with what it
// must be: what a toy that was never interrupted says.
func (a *archive) turn(ctx context.Context, e *Engine, id, question string) (got, want string, r Result, err error) {
	a.mu.Lock()
	s := a.sessions[id]
	if s == nil {
		s = &archived{}
		a.sessions[id] = s
	}
	messages := append(slices.Clone(s.messages), chat.Message{Role: "user", Content: question})
	req := &Request{Messages: messages, MaxTokens: 9, Keeper: keeper{a, id},
		Session: &Session{ID: id, Tokens: s.tokens, Blocks: len(s.blocks)}}
	a.mu.Unlock()
	f, err := e.front("toy")
	if err != nil {
		return "", "", r, err
	}
	ids, _, err := f.promptTokens(&Request{Messages: messages})
	if err != nil {
		return "", "", r, err
	}
	ids, _ = splice(req.Session.Tokens, ids, spelling(f.tok))
	want = toyText(toyAnswer(ids, 9, toyContext, true))
	got, r, err = collect(ctx, e, req)
	if err == nil {
		a.mu.Lock()
		s.messages = append(messages, chat.Message{Role: "assistant", Content: got})
		a.mu.Unlock()
	}
	return got, want, r, err
}

// tokens is how many a session has.
func (a *archive) tokens(id string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.sessions[id]; s != nil {
		return len(s.tokens)
	}
	return 0
}

// mustTurn is a turn that has to succeed.
func (a *archive) mustTurn(t interface {
	Helper()
	Fatalf(string, ...any)
}, e *Engine, id, question string) Result {
	t.Helper()
	got, want, r, err := a.turn(context.Background(), e, id, question)
	if err != nil || r.Unsaved != nil || got != want {
		t.Fatalf("session %s: %q, want %q; %v, saved: %v", id, got, want, err, r.Unsaved)
	}
	return r
}

// counted is a toy that counts its rows.
func counted() (*toyBackend, *int) {
	rows := new(int)
	return &toyBackend{step: func(_ context.Context, r *graph.Rows) error { *rows += len(r.Tok); return nil }}, rows
}

var book = strings.Repeat("it was the best of times, it was the worst of times; ", 12) // 636 tokens

// TestSessionGoesOnInAnotherProcess: after a restart, what was read is not read again.
func TestSessionGoesOnInAnotherProcess(t *testing.T) {
	a := newArchive()
	b, _ := counted()
	e := startToy(t, toyConfig(), b)
	first := a.mustTurn(t, e, "s", book+"who?")
	second := a.mustTurn(t, e, "s", "when?")
	if n := first.Usage.Prompt; second.Usage.Cached < n || second.Usage.Restored != 0 {
		t.Errorf("second turn: usage %+v after a prompt of %d tokens", second.Usage, n)
	}
	if a.opens != 1 { // the first turn, of which others might have stored the begin
		t.Errorf("the archive was asked %d times", a.opens)
	}

	b, rows := counted()
	e = startToy(t, toyConfig(), b)
	*rows = 0
	third := a.mustTurn(t, e, "s", "where?")
	if u := third.Usage; u.Restored != u.Cached || u.Cached < second.Usage.Prompt || *rows >= 64 || third.Recomputed != nil {
		t.Errorf("third turn: usage %+v, %d rows, recomputed: %v", u, *rows, third.Recomputed)
	}
	if s := a.sessions["s"]; s.exact != 2 || len(s.blocks) != 2 {
		t.Errorf("%d blocks, %d of them exact, want 2: the book", len(s.blocks), s.exact)
	}
}

// TestSessionsDoNotMix: what one session has generated, no other goes on with,
// but what was read of a document serves all.
func TestSessionsDoNotMix(t *testing.T) {
	a := newArchive()
	b, _ := counted()
	e := startToy(t, toyConfig(), b)
	r := a.mustTurn(t, e, "one", book)
	a.mustTurn(t, e, "one", "x")
	// The same messages: up to the first answer, tokens are those of the first session.
	again := a.mustTurn(t, e, "two", book)
	if again.Usage.Cached != r.Usage.Prompt-1 {
		t.Errorf("%d of %d tokens are taken from another session's document", again.Usage.Cached, r.Usage.Prompt)
	}
	third := a.mustTurn(t, e, "two", "x")
	if c := third.Usage; c.Cached < again.Usage.Prompt || c.Restored != 0 {
		t.Errorf("the second session's second turn: %+v", c)
	}
	for _, k := range e.owner.kept {
		if k.exact > r.Usage.Prompt {
			t.Errorf("%d tokens of a kept sequence count as exact, the prompt had %d", k.exact, r.Usage.Prompt)
		}
	}
}

// TestSessionsKeepWhatIsNotExact: a request without a session takes a document that a
// session has read, and nothing that it was told or that came out of a file.
func TestSessionsKeepWhatIsNotExact(t *testing.T) {
	a := newArchive()
	b, _ := counted()
	e := startToy(t, toyConfig(), b)
	answer, _, first, err := a.turn(t.Context(), e, "one", book)
	if err != nil {
		t.Fatal(err)
	}
	a.mustTurn(t, e, "one", "x")
	same := []chat.Message{{Role: "user", Content: book}, {Role: "assistant", Content: answer}, {Role: "user", Content: "x"}}
	_, r, err := collect(t.Context(), e, &Request{Messages: same, MaxTokens: 5})
	if err != nil || r.Usage.Cached != first.Usage.Prompt {
		t.Errorf("%d tokens were taken, %d were read as a prompt; %v", r.Usage.Cached, first.Usage.Prompt, err)
	}
}

// TestPrefixIsFoundWithoutASession: a document that a session has stored is not
// read again by a request that names none, nor by a new session.
func TestPrefixIsFoundWithoutASession(t *testing.T) {
	a := newArchive()
	a.shared = true
	a.mustTurn(t, startToy(t, toyConfig(), &toyBackend{}), "s", book+"who?")

	e := startToy(t, toyConfig(), &toyBackend{})
	_, r, err := collect(t.Context(), e, &Request{Messages: []chat.Message{{Role: "user", Content: book + "what?"}}, MaxTokens: 5, Keeper: keeper{a, ""}})
	if err != nil || r.Usage.Restored != 2*offload.BlockTok {
		t.Errorf("usage %+v, %v", r.Usage, err)
	}
	e = startToy(t, toyConfig(), &toyBackend{})
	if r := a.mustTurn(t, e, "new", book+"how?"); r.Usage.Restored != 2*offload.BlockTok || a.sessions["new"].exact != 2 {
		t.Errorf("a new session: usage %+v, %d blocks exact", r.Usage, a.sessions["new"].exact)
	}
}

// TestDamagedSnapshotIsComputedAgain and says so.
func TestDamagedSnapshotIsComputedAgain(t *testing.T) {
	for name, damage := range map[string]func(*archive){
		"a piece":   func(a *archive) { a.reading = func(block int) error { return failAt(block, 1) } },
		"the state": func(a *archive) { a.reading = func(block int) error { return failAt(block, TailBlock) } },
		"a layer":   func(a *archive) { a.sessions["s"].blocks[0] = a.sessions["s"].blocks[0][1:] },
		"all":       func(a *archive) { a.sessions["s"].tail[0].Data[0] = offload.InMemory([]byte("state")) },
		"tokens":    func(a *archive) { a.sessions["s"].tokens = a.sessions["s"].tokens[:520] },
	} {
		t.Run(name, func(t *testing.T) {
			a := newArchive()
			a.mustTurn(t, startToy(t, toyConfig(), &toyBackend{}), "s", book)
			damage(a)
			e := startToy(t, toyConfig(), &toyBackend{})
			if r := a.mustTurn(t, e, "s", "when?"); r.Recomputed == nil || r.Usage.Restored != 0 {
				t.Errorf("recomputed: %v, usage %+v", r.Recomputed, r.Usage)
			}
			a.reading = nil
			e = startToy(t, toyConfig(), &toyBackend{})
			if r := a.mustTurn(t, e, "s", "where?"); r.Recomputed != nil || r.Usage.Restored == 0 {
				t.Errorf("once more: recomputed: %v, usage %+v", r.Recomputed, r.Usage)
			}
		})
	}
}

func failAt(block, at int) error {
	if block == at {
		return errors.New("damaged")
	}
	return nil
}

// TestRefusedSnapshotEndsTheRequest: only the caller can decide to do without.
func TestRefusedSnapshotEndsTheRequest(t *testing.T) {
	a := newArchive()
	a.mustTurn(t, startToy(t, toyConfig(), &toyBackend{}), "s", book)
	a.sessions["s"].key.Fingerprint = []byte("other")
	e := startToy(t, toyConfig(), &toyBackend{})
	if _, _, _, err := a.turn(t.Context(), e, "s", "when?"); err == nil || !strings.Contains(err.Error(), "another model") {
		t.Errorf("got %v", err)
	}
	if s := e.Status(); s.Running != 0 || s.State != Ready {
		t.Errorf("status %+v", s)
	}
}

// TestOthersRunWhileASessionWakes, and a caller who leaves meanwhile leaves nothing behind.
func TestOthersRunWhileASessionWakes(t *testing.T) {
	a := newArchive()
	a.mustTurn(t, startToy(t, toyConfig(), &toyBackend{}), "s", book)
	synctest.Test(t, func(t *testing.T) {
		e := startToy(t, toyConfig(), &toyBackend{})
		total := e.Status().FreeTok
		gate := make(chan struct{})
		a.reading = func(block int) error {
			if block == 1 {
				<-gate
			}
			return nil
		}
		defer func() { a.reading = nil }()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, _, _, err := a.turn(ctx, e, "s", "when?")
			done <- err
		}()
		synctest.Wait() // it wakes
		ids := longPrompt(2, 100)
		if text, _, err := collect(t.Context(), e, &Request{Prompt: prompt(ids...), MaxTokens: 9}); err != nil || text != toyText(toyAnswer(ids, 9, toyContext, true)) {
			t.Errorf("the other request: %q, %v", text, err)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		if s := e.Status(); s.Running != 0 {
			t.Errorf("the request still runs: %+v", s)
		}
		close(gate)
		synctest.Wait()
		e.wakeOwner()
		synctest.Wait()
		if free := e.Status().FreeTok; total-free > 112 { // what the other request has kept
			t.Errorf("%d of %d tokens are free after the wake was given up", free, total)
		}
		if _, _, _, err := a.turn(t.Context(), e, "s", "when?"); err != nil {
			t.Errorf("the next try: %v", err)
		}
	})
}

// TestCloseWaitsForWakesAndSaves: they use the cache's memory.
func TestCloseWaitsForWakesAndSaves(t *testing.T) {
	a := newArchive()
	a.mustTurn(t, startToy(t, toyConfig(), &toyBackend{}), "s", book)
	synctest.Test(t, func(t *testing.T) {
		e := newToy(t, toyConfig(), &toyBackend{})
		go e.owner.run()
		if err := e.Load(t.Context(), "", nil); err != nil {
			t.Fatal(err)
		}
		gate := make(chan struct{})
		a.reading = func(int) error { <-gate; return nil }
		defer func() { a.reading = nil }()
		done, closed := make(chan error, 1), make(chan error, 1)
		go func() {
			_, _, _, err := a.turn(t.Context(), e, "s", "when?")
			done <- err
		}()
		synctest.Wait()
		go func() { closed <- e.Close() }()
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("the request ended with %v", err)
		}
		synctest.Wait()
		select {
		case <-closed:
			t.Error("the engine was closed while a snapshot was read into its cache")
		default:
		}
		close(gate)
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

// TestRequestsGoOnWhileSessionsAreSaved: a sequence that is being saved stays as it
// is, whatever runs beside it; a request for which no slot is left waits for one.
func TestRequestsGoOnWhileSessionsAreSaved(t *testing.T) {
	a := newArchive()
	synctest.Test(t, func(t *testing.T) {
		cfg := toyConfig()
		cfg.MaxSeqs, cfg.CacheSeqs = 1, 1
		e := newToy(t, cfg, &toyBackend{})
		go e.owner.run()
		if err := e.Load(t.Context(), "", nil); err != nil {
			t.Fatal(err)
		}
		gate := make(chan struct{})
		a.saving = func() { <-gate }
		done := make(chan error, 3)
		turn := func(id, question string) {
			go func() {
				got, want, r, err := a.turn(t.Context(), e, id, question)
				if err == nil && got != want {
					err = fmt.Errorf("%q, want %q", got, want)
				}
				done <- errors.Join(err, r.Unsaved)
			}()
			synctest.Wait()
		}
		turn("a", book+"who?")
		if _, _, err := collect(t.Context(), e, &Request{Messages: []chat.Message{{Role: "user", Content: "a short one"}}, MaxTokens: 5}); err != nil {
			t.Errorf("a request beside a session that is being saved: %v", err)
		}
		turn("b", "when?")
		turn("c", "where?") // both slots are taken by what is being saved
		if n := len(done); n > 0 {
			t.Errorf("%d turns have ended before they were saved: %v", n, <-done)
		}
		close(gate)
		for range 3 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		a.saving = nil
		if r := a.mustTurn(t, e, "c", "again?"); r.Usage.Restored != 0 {
			t.Errorf("the last session had to be restored: %+v", r.Usage)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	e := startToy(t, toyConfig(), &toyBackend{}) // what was saved is right
	a.mustTurn(t, e, "a", "and now?")
}

// TestSessionsAgainstTheModel: whatever happens to engines and archive in between,
// each turn answers as a toy that was never interrupted.
func TestSessionsAgainstTheModel(t *testing.T) {
	tb := t
	rapid.Check(t, func(rt *rapid.T) {
		a := newArchive()
		a.shared = rapid.Bool().Draw(rt, "shared")
		cfg := toyConfig()
		cfg.CacheSeqs = rapid.IntRange(1, 3).Draw(rt, "kept")
		var e *Engine
		restart := func(t *rapid.T) {
			if e != nil {
				if err := e.Close(); err != nil {
					t.Fatal(err)
				}
			}
			e = newToy(tb, cfg, &toyBackend{})
			go e.owner.run()
			if err := e.Load(context.Background(), "", nil); err != nil {
				t.Fatal(err)
			}
		}
		restart(rt)
		defer func() { e.Close() }()
		id := rapid.SampledFrom([]string{"a", "b", "c"})
		rt.Repeat(map[string]func(*rapid.T){
			"turn": func(t *rapid.T) {
				s, question := id.Draw(t, "session"), rapid.SampledFrom([]string{book, book[:300], "x", "ab"}).Draw(t, "question")
				if a.tokens(s)+len(question)+30 > toyContext {
					return
				}
				a.mustTurn(t, e, s, question)
			},
			"at once": func(t *rapid.T) {
				var wg sync.WaitGroup
				for _, s := range []string{"a", "b"} {
					if a.tokens(s)+60 > toyContext {
						continue
					}
					wg.Go(func() {
						if got, want, r, err := a.turn(context.Background(), e, s, "ab"); err != nil || got != want || r.Unsaved != nil {
							t.Errorf("session %s: %q, want %q; %v, %v", s, got, want, err, r.Unsaved)
						}
					})
				}
				wg.Wait()
			},
			"undo": func(t *rapid.T) { // as a client that asks the last question otherwise
				if s := a.sessions[id.Draw(t, "session")]; s != nil && len(s.messages) > 2 {
					s.messages = s.messages[:len(s.messages)-2]
				}
			},
			"restart": restart,
			"forget":  func(t *rapid.T) { delete(a.sessions, id.Draw(t, "session")) },
		})
	})
}
