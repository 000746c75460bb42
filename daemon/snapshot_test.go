package daemon

import (
	"bytes"
	"testing"

	"edged/offload"
	"edged/pinnedmem"
	"edged/store"
)

// TestCacheSnapshotsLiveInTheStore saves a sequence in two turns as a session
// does, and restores it from a store that was opened again into a pool of other
// sizes: what the cache calls parts must be what the store takes, and come back.
func TestCacheSnapshotsLiveInTheStore(t *testing.T) {
	dir, host := t.TempDir()+"/store", pinnedmem.NewHost(0)
	first, second := snapshotPool(t, host, 1200), snapshotPool(t, host, 1500)
	if err := fillAtRandom(first); err != nil {
		t.Fatal(err)
	}
	seq, err := first.NewSeq()
	if err != nil {
		t.Fatal(err)
	}
	key := store.Key{Fingerprint: []byte(first.Format()), Policy: "auto"}
	s := openStore(t, dir)
	sess, err := s.User(1000).Create(store.New{Title: "book", Key: key})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{700, 324} {
		if _, err := grow(first, seq, n); err != nil {
			t.Fatal(err)
		}
		turn := store.Turn{After: sess.Messages, Messages: []store.Message{{Role: "user", Tokens: make([]int32, n)}}, Tail: storePayload(tailOf(t, seq))}
		for i := sess.Blocks; i < seq.Blocks(); i++ {
			parts, err := seq.SnapshotBlock(i)
			if err != nil {
				t.Fatal(err)
			}
			turn.Blocks = append(turn.Blocks, store.Block{Provenance: store.Decoded, Parts: storePayload(parts)})
		}
		if sess, err = s.User(1000).Commit(t.Context(), sess.ID, turn); err != nil {
			t.Fatal(err)
		}
	}
	if sess.Blocks != 3 {
		t.Errorf("%d blocks are stored of %d tokens, want 3: records of the fourth are missing", sess.Blocks, seq.Len())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = openStore(t, dir)
	defer s.Close()
	snap, err := s.User(1000).Restore(sess.ID, key)
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	again, _, _, err := readBack(t.Context(), snap, second)
	if err != nil {
		t.Fatal(err)
	}
	if again.Len() != seq.Len() {
		t.Fatalf("%d tokens are restored of %d", again.Len(), seq.Len())
	}
	samePayload(t, tailOf(t, again), tailOf(t, seq))
	for i := range seq.Blocks() {
		got, err := again.SnapshotBlock(i)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := seq.SnapshotBlock(i) // the block is there
		samePayload(t, got, want)
	}
}

func openStore(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// snapshotPool has a layer of every class that one pool can have.
func snapshotPool(t *testing.T, host *pinnedmem.Host, context int) *offload.Pool {
	t.Helper()
	spec := offload.LayerSpec{KVHeads: 2, HeadDim: 64}
	window := spec
	window.Window = 100
	p, err := offload.NewPool(offload.One(host), offload.Config{Context: context, Tokens: context, MaxSeqs: 2, Layers: []offload.LayerPlan{
		{LayerSpec: window, Class: offload.Window, Tail: 160},
		{LayerSpec: spec},
		{LayerSpec: spec, Class: offload.Dense, Elem: offload.Q4, Group: 32, Tail: 64},
		{LayerSpec: spec, Class: offload.Paged, Elem: offload.Q64, Group: 16, Tail: 64, Budget: 8, Exchange: 2, Estimate: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func tailOf(t *testing.T, q *offload.Seq) []offload.Part {
	t.Helper()
	parts, err := q.SnapshotTail()
	if err != nil {
		t.Fatal(err)
	}
	return parts
}

func partBytes(t *testing.T, p offload.Part) (all []byte) {
	t.Helper()
	for b, err := range p.All() {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}

func samePayload(t *testing.T, got, want []offload.Part) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d parts, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i].ID != want[i].ID || !bytes.Equal(partBytes(t, got[i]), partBytes(t, want[i])) {
			t.Errorf("part %d differs from part %d after a restore", got[i].ID, want[i].ID)
		}
	}
}
