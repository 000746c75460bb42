package store

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// doc is a turn that reads a document of n blocks.
func doc(n int, salt int32) Turn {
	t := Turn{Messages: []Message{{Role: "user", Body: []byte("document"), Tokens: toks(n*BlockTok+10, salt)}}}
	for i := range n {
		t.Blocks = append(t.Blocks, Block{Parts: payload(100_000, byte(i))})
	}
	return t
}

func payloadDisk(t testing.TB, s *Store) int64 {
	t.Helper()
	return must(s.Stat()).ChunkDisk
}

// TestDocumentIsStoredOnce: ten sessions and two forks share a document's
// blocks, another user's session does not, and the last one out frees them.
func TestDocumentIsStoredOnce(t *testing.T) {
	s := openStore(t, Options{})
	u := s.User(1)
	var ids []string
	var once int64
	for i := range 10 {
		sess := must(u.Create(New{Key: testKey()}))
		turn := doc(5, 0)
		if i > 0 {
			for b := range turn.Blocks {
				turn.Blocks[b].Parts[0].Data = func(func([]byte, error) bool) { t.Error("a stored block was read again") }
			}
		}
		must(u.Commit(context.Background(), sess.ID, turn))
		ids = append(ids, sess.ID)
		if i == 0 {
			once = payloadDisk(t, s)
		}
	}
	ids = append(ids, must(u.Fork(ids[0], 1, "f")).ID, must(u.Fork(ids[3], 1, "g")).ID)
	if now := payloadDisk(t, s); now != once {
		t.Fatalf("twelve sessions take %d bytes, one takes %d", now, once)
	}
	if d := cmp.Diff(Usage{Shared: 500_000}, must(u.Usage(ids[4]))); d != "" {
		t.Fatal(d)
	}
	other := must(s.User(2).Create(New{Key: testKey()}))
	must(s.User(2).Commit(context.Background(), other.ID, doc(5, 0)))
	if now := payloadDisk(t, s); now != 2*once {
		t.Fatalf("two users take %d bytes, one takes %d", now, once)
	}
	if snap := must(s.User(3).Prefix(testKey(), toks(5*BlockTok, 0))); len(snap.Blocks) != 0 {
		t.Fatal("a third user finds others' blocks")
	}
	for i, id := range ids {
		if err := u.Delete(id); err != nil {
			t.Fatal(err)
		}
		if now := payloadDisk(t, s); (now == once) != (i == len(ids)-1) {
			t.Fatalf("%d bytes after %d of %d sessions were deleted", now, i+1, len(ids))
		}
	}
}

func TestPrefixEndsWhereTokensDiffer(t *testing.T) {
	s := openStore(t, Options{})
	u := s.User(1)
	sess := must(u.Create(New{Key: testKey()}))
	must(u.Commit(context.Background(), sess.ID, doc(5, 0)))
	ids := toks(5*BlockTok, 0)
	otherKey := testKey()
	otherKey.Policy = "full"
	changed := append([]int32{}, ids...)
	changed[3*BlockTok+17]++
	for name, c := range map[string]struct {
		key    Key
		tokens []int32
		want   int
	}{
		"all": {testKey(), ids, 5}, "short of one token": {testKey(), ids[:len(ids)-1], 4}, "one token changed": {testKey(), changed, 3},
		"another policy": {otherKey, ids, 0}, "nothing": {testKey(), nil, 0},
	} {
		snap := must(u.Prefix(c.key, c.tokens))
		if len(snap.Blocks) != c.want {
			t.Errorf("%s: %d blocks, should be %d", name, len(snap.Blocks), c.want)
		}
		if err := snap.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDecodedBlocksAreNotShared: nor are exact ones that follow them.
func TestDecodedBlocksAreNotShared(t *testing.T) {
	s := openStore(t, Options{})
	u := s.User(1)
	sess := must(u.Create(New{Key: testKey()}))
	turn := doc(4, 0)
	turn.Blocks[1].Provenance = Decoded
	must(u.Commit(context.Background(), sess.ID, turn))
	snap := must(u.Prefix(testKey(), toks(4*BlockTok, 0)))
	defer snap.Close()
	if len(snap.Blocks) != 1 {
		t.Fatalf("%d blocks are shared", len(snap.Blocks))
	}
	fork := must(u.Fork(sess.ID, 1, ""))
	if fork.Blocks != 4 {
		t.Fatalf("a fork has %d blocks", fork.Blocks)
	}
}

// TestSharedBlockVanishes deletes the session that a turn shares a block with
// while the turn is being written: the turn writes the block after all.
func TestSharedBlockVanishes(t *testing.T) {
	s := openStore(t, Options{})
	u := s.User(1)
	first, second := must(u.Create(New{Key: testKey()})), must(u.Create(New{Key: testKey()}))
	must(u.Commit(context.Background(), first.ID, doc(1, 0)))
	turn := doc(2, 0)
	last := turn.Blocks[1].Parts[0].Data
	turn.Blocks[1].Parts[0].Data = func(yield func([]byte, error) bool) {
		if err := u.Delete(first.ID); err != nil {
			t.Error(err)
		}
		last(yield)
	}
	must(u.Commit(context.Background(), second.ID, turn))
	snap := must(u.Restore(second.ID, testKey()))
	defer snap.Close()
	got := readAll(t, snap)
	if !bytes.Equal(got[0], fill(100_000, 0)) || !bytes.Equal(got[1], fill(100_000, 1)) {
		t.Fatal("other bytes")
	}
	if err := checkClean(s, false); err != nil {
		t.Fatal(err)
	}
}

func TestRestoreRefusesOtherKeys(t *testing.T) {
	s := openStore(t, Options{})
	u := s.User(1)
	sess := must(u.Create(New{Key: testKey()}))
	must(u.Commit(context.Background(), sess.ID, doc(1, 0)))
	key := Key{Fingerprint: []byte("other"), Policy: "auto", Calibration: "c2"}
	_, err := u.Restore(sess.ID, key)
	var mismatch *MismatchError
	if !errors.As(err, &mismatch) || !cmp.Equal(mismatch.Fields, []string{"fingerprint", "calibration"}) {
		t.Fatal(err)
	}
	sess = must(u.Demote(sess.ID, key, "m"))
	if sess.Blocks != 0 || sess.Messages != 1 {
		t.Fatal(sess)
	}
	recomputed := doc(1, 0)
	recomputed.After, recomputed.Messages = 1, nil
	must(u.Commit(context.Background(), sess.ID, recomputed))
	must(u.Restore(sess.ID, key)).Close()
}

// TestBudget: the sessions that were not used for longest are demoted, never
// the one that grows, and what can never fit is refused before anything goes.
func TestBudget(t *testing.T) {
	s := openStore(t, Options{Budget: 1_100_000})
	u := s.User(1)
	var ids []string
	for i := range 3 { // 300 kB each
		sess := must(u.Create(New{Key: testKey()}))
		must(u.Commit(context.Background(), sess.ID, doc(3, int32(i))))
		ids = append(ids, sess.ID)
	}
	must(u.Restore(ids[0], testKey())).Close() // used last
	sess := must(u.Create(New{Key: testKey()}))
	must(u.Commit(context.Background(), sess.ID, doc(3, 9)))
	var have []int
	for _, id := range append(ids, sess.ID) {
		have = append(have, must(u.Get(id)).Blocks)
	}
	if d := cmp.Diff([]int{3, 0, 3, 3}, have); d != "" {
		t.Fatal(d)
	}
	if list := must(u.Messages(ids[1])); len(list) != 1 || len(list[0].Tokens) != 3*BlockTok+10 {
		t.Fatal("text was lost")
	}
	big := doc(12, 5)
	big.After = 1
	if _, err := u.Commit(context.Background(), sess.ID, big); !errors.Is(err, ErrBudget) {
		t.Fatal(err)
	}
	if used := payloadDisk(t, s); used < 900_000 || used > 1_100_000 {
		t.Fatalf("%d bytes are used", used)
	}
	if err := checkClean(s, false); err != nil {
		t.Fatal(err)
	}
}

// TestSnapshotOutlivesItsSession: a restore goes on when its session is
// deleted and everything is collected meanwhile, and its files go afterwards.
func TestSnapshotOutlivesItsSession(t *testing.T) {
	s := openStore(t, Options{})
	u := s.User(1)
	sess := must(u.Create(New{Key: testKey()}))
	must(u.Commit(context.Background(), sess.ID, doc(50, 0)))
	snap := must(u.Restore(sess.ID, testKey()))
	n := 0
	for p, err := range snap.Read(context.Background(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 1 {
			if err := u.Delete(sess.ID); err != nil {
				t.Fatal(err)
			}
			must(s.GC(context.Background()))
		}
		if !bytes.Equal(p.Data, fill(100_000, byte(p.Block))) {
			t.Fatal("other bytes")
		}
	}
	if err := snap.Close(); err != nil {
		t.Fatal(err)
	}
	if entries := must(s.fs.List("chunks")); len(entries) > 0 {
		t.Fatalf("%d files are left", len(entries))
	}
}

// TestReadingStops: a reader that stops early, or whose context ends, leaves
// nothing running and no file behind.
func TestReadingStops(t *testing.T) {
	s := openStore(t, Options{})
	u := s.User(1)
	sess := must(u.Create(New{Key: testKey()}))
	must(u.Commit(context.Background(), sess.ID, doc(200, 0)))
	if err := must(u.Restore(sess.ID, testKey())).Close(); err != nil { // opens connections
		t.Fatal(err)
	}
	before := goleak.IgnoreCurrent()
	snap := must(u.Restore(sess.ID, testKey()))
	for _, err := range snap.Read(context.Background(), 50) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var last error
	for _, err := range snap.Read(ctx, 0) {
		cancel()
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Fatal(last)
	}
	if err := snap.Close(); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before)
}

// TestSmallTurnsAreJoined: a conversation that grew by a block a turn lies in
// few files after GC.
func TestSmallTurnsAreJoined(t *testing.T) {
	for name, key := range map[string][]byte{"clear": nil, "sealed": make([]byte, KeyBytes)} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, Options{Key: key})
			u := s.User(1)
			sess := must(u.Create(New{Key: testKey()}))
			const turns = 60
			for i := range turns {
				must(u.Commit(context.Background(), sess.ID, Turn{After: i, Messages: []Message{{Tokens: toks(BlockTok, int32(i))}}, Blocks: []Block{{Parts: payload(40_000, byte(i))}}}))
				if i%10 == 9 {
					must(s.GC(context.Background()))
				}
			}
			if n := must(s.Stat()).Chunks; n > fewSmall {
				t.Fatalf("%d chunks are left of %d", n, turns)
			}
			snap := must(u.Restore(sess.ID, testKey()))
			defer snap.Close()
			for i, b := range readAll(t, snap) {
				if !bytes.Equal(b, fill(40_000, byte(i))) {
					t.Fatalf("block %d has other bytes", i)
				}
			}
			if err := checkClean(s, false); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestHammer does everything at once.
func TestHammer(t *testing.T) {
	s := openStore(t, Options{Budget: 40 << 20})
	const workers, rounds = 6, 15
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			u := s.User(uint32(w % 2))
			for r := range rounds {
				if err := hammer(s, u, w, r); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	must(s.GC(context.Background()))
	if err := checkClean(s, false); err != nil {
		t.Fatal(err)
	}
}

func hammer(s *Store, u User, w, r int) error {
	ctx := context.Background()
	sess, err := u.Create(New{Key: testKey(), Title: time.Duration(w).String()})
	if err != nil {
		return err
	}
	if _, err := u.Commit(ctx, sess.ID, doc(1+r%5, int32(r%3))); err != nil {
		return err
	}
	fork, err := u.Fork(sess.ID, 1, "fork")
	if err != nil {
		return err
	}
	snap, err := u.Restore(fork.ID, testKey())
	if err != nil {
		return err
	}
	defer snap.Close()
	if err := u.Delete(sess.ID); err != nil {
		return err
	}
	for p, err := range snap.Read(ctx, 0) {
		if err != nil {
			return err
		}
		if !bytes.Equal(p.Data, fill(100_000, byte(p.Block))) {
			return errors.New("a hammered session has other bytes")
		}
	}
	switch w {
	case 0:
		_, err = s.GC(ctx)
	case 1:
		err = checkClean(s, true)
	default:
		_, err = u.List(Filter{Tag: "none"})
	}
	if r%2 == 0 {
		err = errors.Join(err, u.Delete(fork.ID))
	}
	return err
}
