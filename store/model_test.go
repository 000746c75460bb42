package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// naive is what a session should be, in plain memory.
type naive struct {
	uid      uint32
	id       string
	title    string
	tags     []string
	key      Key
	messages []Message
	blocks   []naiveBlock
	tail     []byte // nil: none
	staged   map[int]naiveStaged
	ahead    []int32 // tokens, the session's and those after them, of what is staged
}

// naiveStaged is a block that is not complete: all its bytes, and the parts
// that were staged.
type naiveStaged struct {
	data  []byte
	parts map[int]bool
}

// bytes is what is stored of it.
func (s naiveStaged) bytes() (b []byte) {
	for _, p := range parts(s.data) {
		if s.parts[p.ID] {
			for piece, err := range p.Data {
				if err != nil {
					panic(err)
				}
				b = append(b, piece...)
			}
		}
	}
	return b
}

// exact says whether all blocks are exact prefill.
func exact(blocks []naiveBlock) bool {
	return !slices.ContainsFunc(blocks, func(b naiveBlock) bool { return b.provenance == Decoded })
}

type naiveBlock struct {
	provenance Provenance
	data       []byte
}

func (n *naive) tokens() []int32 {
	var ids []int32
	for _, m := range n.messages {
		ids = append(ids, m.Tokens...)
	}
	return ids
}

// exactData is what a deterministic engine computes for a block of exact
// prefill: a function of the key and all tokens up to its end.
func exactData(key Key, tokens []int32) []byte {
	l := seed([]byte("engine"), append([]byte(key.Policy), key.Fingerprint...))
	for _, next := range l.chain(tokens) {
		l = next
	}
	return bytes.Repeat(l[:], 4+int(l[0])%60)
}

// parts cuts bytes into a payload of a few parts and pieces.
func parts(b []byte) Payload {
	half := len(b) / 2
	pieces := func(b []byte) Data {
		return func(yield func([]byte, error) bool) {
			for piece := range slices.Chunk(b, 700) {
				reused := slices.Clone(piece)
				if !yield(reused, nil) {
					return
				}
				clear(reused) // as arenas are: valid only until the next
			}
		}
	}
	if half == 0 {
		return Payload{{ID: 3, Size: int64(len(b)), Data: pieces(b)}}
	}
	return Payload{{ID: 0, Size: int64(half), Data: pieces(b[:half])}, {ID: 7, Size: int64(len(b) - half), Data: pieces(b[half:])}}
}

type machine struct {
	t    *testing.T
	dir  string
	key  []byte
	s    *Store
	all  []*naive
	next byte

	checks int
}

var modelKeys = []Key{{Fingerprint: []byte("f1"), Policy: "full"}, {Fingerprint: []byte("f2"), Policy: "auto", Calibration: "c"}}

// TestStoreIsItsModel drives everything that changes a store against plain
// memory, and compares all of it after every step.
func TestStoreIsItsModel(t *testing.T) {
	for name, key := range map[string][]byte{"clear": nil, "sealed": bytes.Repeat([]byte{9}, KeyBytes)} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				dir, err := os.MkdirTemp(t.TempDir(), "model")
				if err != nil {
					t.Fatal(err)
				}
				m := &machine{t: t, dir: filepath.Join(dir, "store"), key: key}
				m.open(rt)
				defer func() { m.s.Close() }()
				rt.Repeat(map[string]func(*rapid.T){
					"create": m.create, "commit": m.commit, "commit again": m.commit, "stage": m.stage, "fork": m.fork, "edit": m.edit, "delete": m.delete, "demote": m.demote,
					"gc": m.gc, "move": m.exportImport, "reopen": m.reopen, "prefix": m.prefix, "": m.check,
				})
				for _, n := range m.all {
					m.compare(rt, n)
				}
			})
		})
	}
}

func (m *machine) open(t *rapid.T) {
	s, err := Open(context.Background(), Options{Dir: m.dir, Key: m.key})
	if err != nil {
		t.Fatal(err)
	}
	m.s = s
}

func (m *machine) reopen(t *rapid.T) {
	if err := m.s.Close(); err != nil {
		t.Fatal(err)
	}
	m.open(t)
}

func (m *machine) create(t *rapid.T) {
	n := &naive{staged: map[int]naiveStaged{}, uid: rapid.Uint32Range(0, 1).Draw(t, "uid"), title: rapid.StringN(0, 5, 20).Draw(t, "title"), key: rapid.SampledFrom(append(modelKeys, Key{})).Draw(t, "key")}
	s, err := m.s.User(n.uid).Create(New{Title: n.title, Model: "m", Key: n.key})
	if err != nil {
		t.Fatal(err)
	}
	n.id = s.ID
	m.all = append(m.all, n)
}

func (m *machine) pick(t *rapid.T) *naive {
	if len(m.all) == 0 {
		m.create(t)
	}
	return rapid.SampledFrom(m.all).Draw(t, "session")
}

// bytes are different each time.
func (m *machine) bytes(t *rapid.T, what string) []byte {
	m.next++
	return fill(rapid.IntRange(1, 3000).Draw(t, what), m.next)
}

func (m *machine) commit(t *rapid.T) {
	n := m.pick(t)
	turn := Turn{After: len(n.messages)}
	if n.key.none() {
		turn.Tail = parts([]byte{1})
		if _, err := m.s.User(n.uid).Commit(context.Background(), n.id, turn); !errors.Is(err, ErrInvalid) {
			t.Fatalf("payload without a key: %v", err)
		}
		turn.Tail = nil
	}
	n.drop(&turn, rapid.SampledFrom([]int{0, 0, 0, 1, 200, 300, 1 << 20}).Draw(t, "drop"))
	for range rapid.IntRange(0, 2).Draw(t, "messages") {
		ids := toks(rapid.SampledFrom([]int{0, 1, 255, 256, 300, 700}).Draw(t, "tokens"), rapid.Int32Range(0, 1).Draw(t, "salt"))
		turn.Messages = append(turn.Messages, Message{Role: rapid.SampledFrom([]string{"user", "assistant"}).Draw(t, "role"), Body: m.bytes(t, "body"), Tokens: ids})
	}
	after := &naive{messages: slices.Concat(n.messages, turn.Messages)}
	ids := after.tokens()
	n.dropStale(len(n.blocks), ids)
	blocks := slices.Clone(n.blocks)
	most := len(ids)/BlockTok - len(n.blocks)
	if n.key.none() {
		most = 0
	}
	for range rapid.IntRange(0, most).Draw(t, "blocks") {
		b := naiveBlock{provenance: Provenance(rapid.IntRange(0, 3).Draw(t, "decoded") / 3)}
		if s, ok := n.staged[len(blocks)]; ok {
			b.data = s.data
		} else if b.provenance == ExactPrefill && exact(blocks) {
			b.data = exactData(n.key, ids[:(len(blocks)+1)*BlockTok])
		} else {
			b.data = m.bytes(t, "block")
		}
		blocks = append(blocks, b)
		turn.Blocks = append(turn.Blocks, Block{Provenance: b.provenance, Parts: parts(b.data)})
	}
	var tail []byte
	if rapid.Bool().Draw(t, "tail") && !n.key.none() {
		tail = m.bytes(t, "tail bytes")
		turn.Tail = parts(tail)
	}
	s, err := m.s.User(n.uid).Commit(context.Background(), n.id, turn)
	if err != nil {
		t.Fatal(err)
	}
	n.messages, n.blocks, n.tail = after.messages, blocks, tail
	clear(n.staged)
	m.describes(t, n, s)
	turn.After = len(n.messages) + 1
	if _, err := m.s.User(n.uid).Commit(context.Background(), n.id, turn); !errors.Is(err, ErrConflict) {
		t.Fatalf("a turn after another message: %v", err)
	}
}

// drop lets a turn drop tokens at the session's end, and the session with it.
func (n *naive) drop(turn *Turn, most int) {
	turn.Drop = min(most, len(n.tokens()))
	if turn.Drop == 0 {
		return
	}
	keep := len(n.tokens()) - turn.Drop
	n.blocks = slices.Clone(n.blocks[:min(len(n.blocks), keep/BlockTok)])
	n.messages = slices.Clone(n.messages)
	clear(n.staged)
	at := 0
	for i := range n.messages {
		m := &n.messages[i]
		at, m.Tokens = at+len(m.Tokens), m.Tokens[:min(len(m.Tokens), max(0, keep-at))]
	}
}

// dropStale drops what was staged of other tokens.
func (n *naive) dropStale(first int, ids []int32) {
	for i := range n.staged {
		if end := (i + 1) * BlockTok; i < first || end > len(ids) || !slices.Equal(ids[:end], n.ahead[:end]) {
			clear(n.staged)
			return
		}
	}
}

// stage adds parts to blocks after the last, which may leave some out.
func (m *machine) stage(t *rapid.T) {
	n := m.pick(t)
	ahead := toks(rapid.SampledFrom([]int{0, 0, 300, 700}).Draw(t, "tokens ahead"), rapid.Int32Range(0, 1).Draw(t, "salt"))
	ids := append(n.tokens(), ahead...)
	most := len(ids)/BlockTok - len(n.blocks)
	if most == 0 || n.key.none() {
		return
	}
	first := len(n.blocks) + rapid.IntRange(0, most-1).Draw(t, "first")
	st := Stage{After: len(n.messages), First: first, Tokens: ahead}
	n.dropStale(len(n.blocks), ids)
	n.ahead = ids
	for i := range rapid.IntRange(1, len(ids)/BlockTok-first).Draw(t, "blocks") {
		s, ok := n.staged[first+i]
		switch {
		case ok:
			s.parts = maps.Clone(s.parts)
		case exact(n.blocks):
			s = naiveStaged{exactData(n.key, ids[:(first+i+1)*BlockTok]), map[int]bool{}}
		default:
			s = naiveStaged{append(m.bytes(t, "block"), 1), map[int]bool{}}
		}
		p := parts(s.data)
		if which := rapid.IntRange(0, 2).Draw(t, "parts"); which < 2 {
			p = p[which : which+1]
		}
		for _, part := range p {
			s.parts[part.ID] = true
		}
		st.Blocks = append(st.Blocks, p)
		n.staged[first+i] = s
	}
	tail := m.bytes(t, "progress")
	st.Tail = parts(tail)
	s, err := m.s.User(n.uid).Stage(context.Background(), n.id, st)
	if err != nil {
		t.Fatal(err)
	}
	n.tail = tail
	m.describes(t, n, s)
}

func (m *machine) fork(t *rapid.T) {
	n := m.pick(t)
	at := rapid.IntRange(0, len(n.messages)).Draw(t, "at")
	s, err := m.s.User(n.uid).Fork(n.id, at, "fork")
	if err != nil {
		t.Fatal(err)
	}
	f := &naive{staged: map[int]naiveStaged{}, uid: n.uid, id: s.ID, title: "fork", tags: n.tags, key: n.key, messages: slices.Clone(n.messages[:at])}
	f.blocks = slices.Clone(n.blocks[:min(len(n.blocks), len(f.tokens())/BlockTok)])
	if at == len(n.messages) {
		f.tail = n.tail
	}
	m.all = append(m.all, f)
}

func (m *machine) edit(t *rapid.T) {
	n := m.pick(t)
	title, tags := rapid.StringN(0, 5, 20).Draw(t, "title"), rapid.SliceOfN(rapid.StringN(1, 3, 12), 0, 3).Draw(t, "tags")
	if _, err := m.s.User(n.uid).Edit(n.id, Edit{Title: &title, Tags: &tags}); err != nil {
		t.Fatal(err)
	}
	n.title, n.tags = title, tags
}

func (m *machine) delete(t *rapid.T) {
	n := m.pick(t)
	if err := m.s.User(1 - n.uid).Delete(n.id); !errors.Is(err, ErrNotFound) {
		t.Fatalf("another user deletes a session: %v", err)
	}
	if err := m.s.User(n.uid).Delete(n.id); err != nil {
		t.Fatal(err)
	}
	m.all = slices.DeleteFunc(m.all, func(o *naive) bool { return o == n })
}

func (m *machine) demote(t *rapid.T) {
	n := m.pick(t)
	key := rapid.SampledFrom(modelKeys).Draw(t, "new key")
	if _, err := m.s.User(n.uid).Demote(n.id, key, "m"); err != nil {
		t.Fatal(err)
	}
	n.key, n.blocks, n.tail, n.staged = key, nil, nil, map[int]naiveStaged{}
}

func (m *machine) gc(t *rapid.T) {
	if _, err := m.s.GC(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// exportImport moves a session through a stream to the other user.
func (m *machine) exportImport(t *rapid.T) {
	n := m.pick(t)
	var b bytes.Buffer
	if err := m.s.User(n.uid).Export(context.Background(), n.id, &b); err != nil {
		t.Fatal(err)
	}
	s, err := m.s.User(1-n.uid).Import(context.Background(), &b, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := *n
	c.uid, c.id, c.blocks, c.staged = 1-n.uid, s.ID, slices.Clone(n.blocks), map[int]naiveStaged{}
	m.all = append(m.all, &c)
}

// prefix compares what is found with all sessions of the user: what is found
// must be right, and a whole exact session must be found.
func (m *machine) prefix(t *rapid.T) {
	n := m.pick(t)
	ids := n.tokens()
	if n.key.none() {
		return
	}
	snap, err := m.s.User(n.uid).Prefix(n.key, ids)
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	for i, data := range readAll(t, snap) {
		if want := exactData(n.key, ids[:(i+1)*BlockTok]); !bytes.Equal(data, want) {
			t.Fatalf("block %d of a prefix has other bytes", i)
		}
	}
}

// readAll reads a snapshot's blocks and tail, in both ways.
func readAll(t interface{ Fatal(...any) }, snap *Snapshot) map[int][]byte {
	got := map[int][]byte{}
	for p, err := range snap.Read(context.Background(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		got[p.Block] = append(got[p.Block], p.Data...)
	}
	filled, err := fillAll(snap, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.EqualFunc(got, filled, bytes.Equal) {
		t.Fatal("memory was filled with other bytes than Read gives")
	}
	return got
}

// describes compares a session's row.
func (m *machine) describes(t *rapid.T, n *naive, s Session) {
	want := Session{ID: n.id, Title: n.title, Tags: n.tags, Model: "m", Key: n.key, Messages: len(n.messages), Tokens: len(n.tokens()), Blocks: len(n.blocks), Tail: n.tail != nil, Bytes: int64(len(n.tail))}
	for _, b := range n.blocks {
		want.Bytes += int64(len(b.data))
	}
	for _, b := range n.staged {
		want.Bytes += int64(len(b.bytes()))
	}
	if d := cmp.Diff(want, s, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(Session{}, "Created", "Updated", "Used", "Parent")); d != "" {
		t.Fatal(d)
	}
}

// check compares all rows, and the contents of one session, in turn.
func (m *machine) check(t *rapid.T) {
	c, err := m.s.Check(context.Background(), true)
	if err != nil || len(c.Problems) > 0 {
		t.Fatal(err, c.Problems)
	}
	for uid := range uint32(2) {
		list, err := m.s.User(uid).List(Filter{})
		if err != nil {
			t.Fatal(err)
		}
		have := map[string]Session{}
		for _, s := range list {
			have[s.ID] = s
		}
		for _, n := range m.all {
			if n.uid != uid {
				continue
			}
			m.describes(t, n, have[n.id])
			delete(have, n.id)
		}
		if len(have) > 0 {
			t.Fatalf("user %d has sessions that were never made: %v", uid, slices.Collect(maps.Keys(have)))
		}
	}
	if m.checks++; len(m.all) > 0 {
		m.compare(t, m.all[m.checks%len(m.all)])
	}
}

func (m *machine) compare(t *rapid.T, n *naive) {
	u := m.s.User(n.uid)
	messages, err := u.Messages(n.id)
	if err != nil {
		t.Fatal(err)
	}
	same := func(a, b Message) bool {
		return a.Role == b.Role && bytes.Equal(a.Body, b.Body) && slices.Equal(a.Tokens, b.Tokens)
	}
	if !slices.EqualFunc(n.messages, messages, same) {
		t.Fatal("messages differ: ", cmp.Diff(n.messages, messages))
	}
	snap, err := u.Restore(n.id, n.key)
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	want := map[int][]byte{}
	for i, b := range n.blocks {
		want[i] = b.data
		if snap.Blocks[i].Provenance != b.provenance {
			t.Fatalf("block %d has provenance %d", i, snap.Blocks[i].Provenance)
		}
	}
	if n.tail != nil {
		want[TailBlock] = n.tail
	}
	for i, s := range n.staged {
		want[i] = s.bytes()
	}
	got := readAll(t, snap)
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatal(fmt.Sprintf("block %d of session %s has %d bytes, should have %d others", i, n.id, len(got[i]), len(want[i])))
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d blocks of %d", len(got), len(want))
	}
	if _, err := u.s.User(1-n.uid).Restore(n.id, n.key); !errors.Is(err, ErrNotFound) {
		t.Fatalf("another user restores a session: %v", err)
	}
}
