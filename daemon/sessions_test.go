package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"edged/ipc"
	"edged/store"
)

const testUID = 1000

// testSessions is an empty store in a folder of the test.
func testSessions(t testing.TB) sessions {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Dir: t.TempDir() + "/sessions"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return sessions{s, new(turns), &quota{limits: func() Store { return Store{} }}}
}

// conversation makes a session with n messages, each of which has 300 tokens.
func conversation(t testing.TB, s sessions, title string, n int) ipc.Session {
	t.Helper()
	u := s.store.User(testUID)
	x, err := u.Create(store.New{Title: title, Tags: []string{"t"}, Model: "m", Key: store.Key{Fingerprint: []byte("f"), Policy: "full"}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		m := ipc.Message{Role: []string{"user", "assistant"}[i%2], Content: fmt.Sprintf("message %d", i)}
		turn := store.Turn{After: i, Messages: []store.Message{{Role: m.Role, Body: encodeMessage(m), Tokens: make([]int32, 300)}}}
		for range (i+1)*300/store.BlockTok - i*300/store.BlockTok {
			turn.Blocks = append(turn.Blocks, store.Block{Parts: store.Payload{{Size: 100, Data: store.Bytes(make([]byte, 100))}}})
		}
		turn.Tail = store.Payload{{Size: 10, Data: store.Bytes(make([]byte, 10))}}
		if x, err = u.Commit(t.Context(), x.ID, turn); err != nil {
			t.Fatal(err)
		}
	}
	return ipcSession(x)
}

var ignoreTimes = cmpopts.IgnoreTypes(time.Time{})

func TestSessionsOfTheStore(t *testing.T) {
	s := testSessions(t)
	x := conversation(t, s, "book", 3)
	want := ipc.Session{ID: x.ID, Title: "book", Tags: []string{"t"}, Model: "m", Policy: "full", Messages: 3, Tokens: 900, StoredTokens: 900, Bytes: 310}
	if d := cmp.Diff(want, x, ignoreTimes); d != "" {
		t.Error(d)
	}
	got, history, err := s.Get(t.Context(), testUID, x.ID)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(x, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(ipc.SessionMessage{Tokens: 300, Message: ipc.Message{Role: "user", Content: "message 2"}}, history[2]); d != "" || len(history) != 3 {
		t.Errorf("%d messages; %s", len(history), d)
	}

	fork, err := s.Fork(t.Context(), testUID, x.ID, 2, "fork")
	if err != nil {
		t.Fatal(err)
	}
	want = ipc.Session{ID: fork.ID, Title: "fork", Tags: []string{"t"}, Model: "m", Policy: "full", Parent: x.ID, Messages: 2, Tokens: 600, StoredTokens: 512, Bytes: 200}
	if d := cmp.Diff(want, fork, ignoreTimes); d != "" {
		t.Error(d)
	}
	if all, err := s.Fork(t.Context(), testUID, x.ID, -1, "all"); err != nil || all.Messages != 3 || all.StoredTokens != 900 {
		t.Errorf("fork of all: %+v, %v", all, err)
	}
	checkKind(t, "a fork of more than there is", ipc.KindInvalidRequest, "", second(s.Fork(t.Context(), testUID, x.ID, 4, "f")))

	title, tags := "new", []string{"a", "b"}
	edited, err := s.Edit(t.Context(), testUID, fork.ID, ipc.SessionEdit{Title: &title, Tags: &tags})
	if err != nil || edited.Title != "new" || !cmp.Equal(tags, edited.Tags) {
		t.Errorf("edit: %+v, %v", edited, err)
	}
	for _, tt := range []struct {
		f    ipc.SessionFilter
		want string
	}{
		{ipc.SessionFilter{}, "new all book"},
		{ipc.SessionFilter{Title: "all"}, "all"},
		{ipc.SessionFilter{Tag: "b"}, "new"},
		{ipc.SessionFilter{Limit: 2}, "new all"},
		{ipc.SessionFilter{After: fork.ID}, "all book"},
		{ipc.SessionFilter{ID: x.ID}, "book"},
		{ipc.SessionFilter{ID: x.ID, Title: "new"}, ""},
		{ipc.SessionFilter{ID: x.ID, Tag: "b"}, ""},
		{ipc.SessionFilter{ID: "absent"}, ""},
	} {
		list, err := s.List(t.Context(), testUID, tt.f)
		var titles []string
		for _, x := range list {
			titles = append(titles, x.Title)
		}
		if got := strings.Join(titles, " "); got != tt.want || err != nil {
			t.Errorf("%+v lists %q, want %q; %v", tt.f, got, tt.want, err)
		}
	}
	if err := s.Delete(t.Context(), testUID, x.ID); err != nil {
		t.Error(err)
	}
	checkKind(t, "a deleted session", ipc.KindNotFound, "session_not_found", s.Delete(t.Context(), testUID, x.ID))
	checkKind(t, "a list after it", ipc.KindNotFound, "session_not_found", second(s.List(t.Context(), testUID, ipc.SessionFilter{After: x.ID})))
}

// TestBusySessionIsNotDeleted: forks and exports see it as it was before the turn.
func TestBusySessionIsNotDeleted(t *testing.T) {
	s := testSessions(t)
	x := conversation(t, s, "book", 2)
	end, err := s.turns.begin(testUID, x.ID, "request r1")
	if err != nil {
		t.Fatal(err)
	}
	err = s.Delete(t.Context(), testUID, x.ID)
	checkKind(t, "a deletion", ipc.KindConflict, ipc.CodeSessionBusy, err)
	if err == nil || !strings.Contains(err.Error(), "request r1") {
		t.Errorf("%v does not name the request", err)
	}
	checkKind(t, "another user's deletion", ipc.KindNotFound, "session_not_found", s.Delete(t.Context(), testUID+1, x.ID))
	if fork, err := s.Fork(t.Context(), testUID, x.ID, -1, "fork"); err != nil || fork.Messages != 2 {
		t.Errorf("fork: %+v, %v", fork, err)
	}
	if err := s.Export(t.Context(), testUID, x.ID, io.Discard); err != nil {
		t.Errorf("export: %v", err)
	}
	end()
	if err := s.Delete(t.Context(), testUID, x.ID); err != nil {
		t.Error(err)
	}
	if len(s.turns.running) > 0 {
		t.Errorf("still claimed: %v", s.turns.running)
	}
}

func second[T any](_ T, err error) error { return err }

func checkKind(t *testing.T, what string, kind ipc.Kind, code string, err error) {
	t.Helper()
	var e *ipc.Error
	if !errors.As(err, &e) || e.Kind != kind || e.Code != code {
		t.Errorf("%s: got %#v", what, err)
	}
}

func TestSessionsOfOthersDoNotExist(t *testing.T) {
	s := testSessions(t)
	x := conversation(t, s, "book", 1)
	const other = testUID + 1
	_, _, get := s.Get(t.Context(), other, x.ID)
	for what, err := range map[string]error{
		"get": get, "delete": s.Delete(t.Context(), other, x.ID), "export": s.Export(t.Context(), other, x.ID, io.Discard),
		"edit": second(s.Edit(t.Context(), other, x.ID, ipc.SessionEdit{Title: &x.Title})), "fork": second(s.Fork(t.Context(), other, x.ID, -1, "f")),
	} {
		checkKind(t, what, ipc.KindNotFound, "session_not_found", err)
	}
	for _, f := range []ipc.SessionFilter{{}, {ID: x.ID}, {Title: "book"}, {Tag: "t"}} {
		if list, err := s.List(t.Context(), other, f); len(list) > 0 || err != nil {
			t.Errorf("%+v lists %v, %v", f, list, err)
		}
	}
}

func TestSessionsMoveBetweenStores(t *testing.T) {
	from, to := testSessions(t), testSessions(t)
	x := conversation(t, from, "book", 3)
	var file bytes.Buffer
	if err := from.Export(t.Context(), testUID, x.ID, &file); err != nil {
		t.Fatal(err)
	}
	y, err := to.Import(t.Context(), testUID+1, bytes.NewReader(file.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	want := x
	want.ID = y.ID
	if d := cmp.Diff(want, y, ignoreTimes); d != "" {
		t.Error(d)
	}
	for name, r := range map[string]io.Reader{
		"empty":    strings.NewReader(""),
		"garbage":  strings.NewReader(strings.Repeat("garbage ", 100)),
		"cut":      bytes.NewReader(file.Bytes()[:file.Len()-1]),
		"too long": io.MultiReader(bytes.NewReader(file.Bytes()), strings.NewReader("x")),
		"flipped":  bytes.NewReader(flipped(file.Bytes(), file.Len()/2)),
	} {
		_, err := to.Import(t.Context(), testUID, r)
		checkKind(t, name, ipc.KindInvalidRequest, "", err)
	}
	broken := errors.New("broken pipe")
	if _, err := to.Import(t.Context(), testUID, io.MultiReader(bytes.NewReader(file.Bytes()[:100]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("a stream that fails: %v", err)
	}
	if list, err := to.List(t.Context(), testUID, ipc.SessionFilter{}); len(list) > 0 || err != nil {
		t.Errorf("refused imports have left %v, %v", list, err)
	}
}

func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

// What the store takes, the API does not have to: an export may be of another
// program, or made by hand.
func TestImportsOfOthersAreRefused(t *testing.T) {
	from, to := testSessions(t), testSessions(t)
	user := string(encodeMessage(ipc.Message{Role: "user", Content: "x"}))
	for _, tt := range []struct {
		name string
		n    store.New
		m    store.Message
		want string
	}{
		{"title", store.New{Title: "a\x1b[2J", Model: "m"}, store.Message{Role: "user", Body: []byte(user)}, `its title must have printable characters only, got "a\x1b[2J"`},
		{"tags", store.New{Title: "a", Tags: []string{""}, Model: "m"}, store.Message{Role: "user", Body: []byte(user)}, "its tags [0] must have 1 to 64 characters, got 0"},
		{"model", store.New{Title: "a", Model: "m\n"}, store.Message{Role: "user", Body: []byte(user)}, `its model is called "m\n"`},
		{"text", store.New{Title: "a", Model: "m"}, store.Message{Role: "user", Body: []byte("plain")}, "message 0: decode message"},
		{"role", store.New{Title: "a", Model: "m"}, store.Message{Role: "system", Body: []byte(user)}, `message 0 is of role "system" and of role user`},
		{"tokens", store.New{Title: "a", Model: "m"}, store.Message{Role: "user", Body: []byte(user), Tokens: []int32{-1}}, "message 0 has the token id -1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := from.store.User(testUID)
			x, err := u.Create(tt.n)
			if err != nil {
				t.Fatal(err)
			}
			if x, err = u.Commit(t.Context(), x.ID, store.Turn{Messages: []store.Message{tt.m}}); err != nil {
				t.Fatal(err)
			}
			var file bytes.Buffer
			if err := u.Export(t.Context(), x.ID, &file); err != nil {
				t.Fatal(err)
			}
			_, err = to.Import(t.Context(), testUID, &file)
			checkKind(t, tt.name, ipc.KindInvalidRequest, "", err)
			if err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if list, err := to.List(t.Context(), testUID, ipc.SessionFilter{}); len(list) > 0 || err != nil {
		t.Errorf("refused imports have left %v, %v", list, err)
	}
}

func TestMessageThatIsNotOurs(t *testing.T) {
	s := testSessions(t)
	u := s.store.User(testUID)
	x, err := u.Create(store.New{Title: "a", Model: "m"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Commit(t.Context(), x.ID, store.Turn{Messages: []store.Message{{Role: "user", Body: []byte("plain")}}}); err != nil {
		t.Fatal(err)
	}
	_, _, err = s.Get(t.Context(), testUID, x.ID)
	checkKind(t, "get", ipc.KindStorage, ipc.CodeSessionDamaged, err)
}

// BenchmarkSessionList lists 10,000 sessions as GET /v1/sessions does.
func BenchmarkSessionList(b *testing.B) {
	s := testSessions(b)
	for i := range 10_000 {
		if _, err := s.Create(b.Context(), testUID, ipc.SessionNew{Title: fmt.Sprintf("session %d", i), Tags: []string{"a", "b"}, Model: "m"}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if list, err := s.List(b.Context(), testUID, ipc.SessionFilter{}); len(list) != 10_000 || err != nil {
			b.Fatalf("%d sessions, %v", len(list), err)
		}
	}
}
