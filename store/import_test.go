package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"edged/store/portable"
)

// exported is a session of two messages, two blocks and a tail.
func exported(t testing.TB, s *Store) []byte {
	u := s.User(1)
	sess := must(u.Create(New{Title: "t", Tags: []string{"x"}, Model: "m", Key: testKey()}))
	must(u.Commit(context.Background(), sess.ID, Turn{
		Messages: []Message{{Role: "user", Body: []byte("question"), Tokens: toks(400, 1)}, {Role: "assistant", Body: []byte("answer"), Tokens: toks(200, 2)}},
		Blocks:   []Block{{Parts: parts(fill(3000, 1))}, {Provenance: Decoded, Parts: parts(fill(2000, 2))}}, Tail: parts(fill(500, 3)),
	}))
	var b bytes.Buffer
	if err := u.Export(context.Background(), sess.ID, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestExportImport moves a session between stores, with and without keys.
func TestExportImport(t *testing.T) {
	from, to := openStore(t, Options{Key: make([]byte, KeyBytes)}), openStore(t, Options{})
	b := exported(t, from)
	sess := must(to.User(2).Import(context.Background(), bytes.NewReader(b), 0))
	want := Session{Title: "t", Tags: []string{"x"}, Model: "m", Key: testKey(), Messages: 2, Tokens: 600, Blocks: 2, Tail: true, Bytes: 5500}
	if d := cmp.Diff(want, sess, cmpopts.IgnoreFields(Session{}, "ID", "Created", "Updated", "Used")); d != "" {
		t.Fatal(d)
	}
	var again bytes.Buffer
	if err := to.User(2).Export(context.Background(), sess.ID, &again); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, again.Bytes()) {
		t.Fatal("an imported session is exported otherwise")
	}
}

// TestImportedBlocksAreNotShared: a file may hold anything, so that no other
// session takes its blocks.
func TestImportedBlocksAreNotShared(t *testing.T) {
	s := openStore(t, Options{})
	b := exported(t, s)
	sess := must(s.User(2).Import(context.Background(), bytes.NewReader(b), 0))
	snap := must(s.User(2).Prefix(testKey(), toks(400, 1)))
	defer snap.Close()
	if len(snap.Blocks) != 0 {
		t.Fatal("an imported block is shared")
	}
	more := doc(3, 0) // follows imported blocks
	more.After = 2
	must(s.User(2).Commit(context.Background(), sess.ID, more))
	var shared int
	if err := queryRow(reads{s.db}, []any{&shared}, "SELECT count(*) FROM blocks WHERE owner = 2 AND shared = 1"); err != nil || shared > 0 {
		t.Fatal(shared, err)
	}
}

// forged is an export whose frames are in order but lie.
func forged(t testing.TB, head portable.Session, rest func(*portable.Writer)) []byte {
	var b bytes.Buffer
	w := portable.NewWriter(&b)
	if err := w.Describe(portable.KindSession, head); err != nil {
		t.Fatal(err)
	}
	if rest != nil {
		rest(w)
	}
	if err := w.End(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestHostileImports: whatever a file declares, it is refused for a reason and
// leaves nothing.
func TestHostileImports(t *testing.T) {
	s := openStore(t, Options{Budget: 1 << 30})
	whole := exported(t, s)
	ok := portable.Session{Fingerprint: []byte("f")}
	with := func(change func(*portable.Session)) portable.Session {
		h := ok
		change(&h)
		return h
	}
	describe := func(kind portable.Kind, v any) func(*portable.Writer) {
		return func(w *portable.Writer) {
			if err := w.Describe(kind, v); err != nil {
				t.Fatal(err)
			}
		}
	}
	message := with(func(h *portable.Session) { h.Messages = 1 })
	blocks := with(func(h *portable.Session) { h.Blocks, h.Runs = 1, 1 })
	many := make([]portable.Part, maxParts)
	for i := range many {
		many[i] = portable.Part{ID: i, Size: 1}
	}
	tail := with(func(h *portable.Session) { h.Tail = true })
	for name, b := range map[string][]byte{
		"empty":               {},
		"other bytes":         bytes.Repeat([]byte("x"), 1000),
		"cut off":             whole[:len(whole)-1],
		"longer":              append(bytes.Clone(whole), whole...),
		"no fingerprint":      forged(t, portable.Session{Tail: true}, describe(portable.KindTail, portable.Tail{Parts: []portable.Part{{Size: 1}}})),
		"only a policy":       forged(t, portable.Session{Policy: "auto"}, nil),
		"negative counts":     forged(t, with(func(h *portable.Session) { h.Messages = -1 }), nil),
		"too many messages":   forged(t, with(func(h *portable.Session) { h.Messages = math.MaxInt }), nil),
		"too many blocks":     forged(t, with(func(h *portable.Session) { h.Blocks, h.Runs = math.MaxInt, math.MaxInt }), nil),
		"long title":          forged(t, with(func(h *portable.Session) { h.Title = string(make([]byte, 5000)) }), nil),
		"huge body":           forged(t, message, describe(portable.KindMessage, portable.Message{Body: math.MaxInt64})),
		"huge tokens":         forged(t, message, describe(portable.KindMessage, portable.Message{Tokens: math.MaxInt64})),
		"negative body":       forged(t, message, describe(portable.KindMessage, portable.Message{Body: -1, Tokens: 1})),
		"missing body":        forged(t, message, describe(portable.KindMessage, portable.Message{Body: 100 << 20})),
		"missing message":     forged(t, message, nil),
		"blocks of no tokens": forged(t, blocks, describe(portable.KindBlocks, portable.Blocks{Count: 1, Parts: []portable.Part{{Size: 1}}})),
		"too many in a run":   forged(t, blocks, describe(portable.KindBlocks, portable.Blocks{Count: math.MaxInt, Parts: []portable.Part{{Size: 1}}})),
		"too many parts":      forged(t, with(func(h *portable.Session) { h.Blocks, h.Runs = maxTurnBlock, 1 }), describe(portable.KindBlocks, portable.Blocks{Count: maxTurnBlock, Parts: many})),
		"strange provenance":  forged(t, blocks, describe(portable.KindBlocks, portable.Blocks{Count: 1, Provenance: 2, Parts: []portable.Part{{Size: 1}}})),
		"huge part":           forged(t, tail, describe(portable.KindTail, portable.Tail{Parts: []portable.Part{{Size: math.MaxInt64}}})),
		"beyond the budget":   forged(t, tail, describe(portable.KindTail, portable.Tail{Parts: []portable.Part{{Size: maxPayload}}})),
		"empty part":          forged(t, tail, describe(portable.KindTail, portable.Tail{Parts: []portable.Part{{Size: 0}}})),
		"parts not in order":  forged(t, tail, describe(portable.KindTail, portable.Tail{Parts: []portable.Part{{ID: 2, Size: 1}, {ID: 1, Size: 1}}})),
		"no parts":            forged(t, tail, describe(portable.KindTail, portable.Tail{})),
		"missing payload":     forged(t, tail, describe(portable.KindTail, portable.Tail{Parts: []portable.Part{{Size: 100}}})),
	} {
		_, err := s.User(2).Import(context.Background(), bytes.NewReader(b), 0)
		if !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrBudget) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.User(2).Import(context.Background(), bytes.NewReader(whole), 5499); !errors.Is(err, ErrInvalid) {
		t.Errorf("more than allowed: %v", err)
	}
	broken := errors.New("connection lost")
	if _, err := s.User(2).Import(context.Background(), io.MultiReader(bytes.NewReader(whole[:len(whole)-9]), errorReader{broken}), 0); !errors.Is(err, broken) {
		t.Errorf("a reader's error is lost: %v", err)
	}
	if list := must(s.User(2).List(Filter{})); len(list) > 0 {
		t.Errorf("%d sessions were made of hostile files", len(list))
	}
	if err := checkClean(s, false); err != nil {
		t.Error(err)
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

// FuzzImport changes exports and makes frames' checksums right again, so that
// what lies behind them is reached. Whatever is accepted is a sound session.
func FuzzImport(f *testing.F) {
	s := openStore(f, Options{Budget: 64 << 20})
	f.Add(exported(f, s), false)
	f.Add(exported(f, s), true)
	f.Fuzz(func(t *testing.T, b []byte, mended bool) {
		if mended {
			mend(b)
		}
		u := s.User(2)
		sess, err := u.Import(context.Background(), bytes.NewReader(b), 1<<20)
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := u.Export(context.Background(), sess.ID, &out); err != nil {
			t.Fatal(err)
		}
		if err := checkClean(s, false); err != nil {
			t.Fatal(err)
		}
		if err := u.Delete(sess.ID); err != nil {
			t.Fatal(err)
		}
	})
}

// mend makes the checksums of frames right.
func mend(b []byte) {
	const head = 16 // of the file, and of a frame
	at := head
	for number := uint64(0); at+head <= len(b); number++ {
		n := int(binary.LittleEndian.Uint32(b[at+4:]))
		if n > portable.MaxFrame || at+head+n > len(b) {
			return
		}
		d := xxhash.New()
		d.Write(binary.LittleEndian.AppendUint64(nil, number))
		d.Write(b[at : at+8])
		d.Write(b[at+head : at+head+n])
		binary.LittleEndian.PutUint64(b[at+8:], d.Sum64())
		at += head + n
	}
}
