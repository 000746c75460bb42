package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testKey() Key {
	return Key{Fingerprint: []byte("model and layout"), Policy: "auto", Calibration: "c1"}
}

func openStore(t testing.TB, o Options) *Store {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "store")
	}
	s, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, ErrClosed) && !t.Failed() {
			t.Error(err)
		}
	})
	return s
}

func toks(n int, salt int32) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(i)*7 + salt
	}
	return ids
}

func fill(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*31>>3) ^ seed
	}
	return b
}

func payload(n int, seed byte) Payload {
	return Payload{{ID: 0, Size: int64(n), Data: Bytes(fill(n, seed))}}
}

func TestRoundTrip(t *testing.T) {
	for name, key := range map[string][]byte{"clear": nil, "sealed": bytes.Repeat([]byte{7}, KeyBytes)} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "s")
			s := openStore(t, Options{Dir: dir, Key: key})
			u := s.User(1000)
			sess, err := u.Create(New{Title: "book", Model: "m", Key: testKey(), Tags: []string{"a"}})
			if err != nil {
				t.Fatal(err)
			}
			ids := toks(600, 1)
			sess, err = u.Commit(context.Background(), sess.ID, Turn{
				Messages: []Message{{Role: "user", Body: []byte("the secret text"), Tokens: ids}},
				Blocks:   []Block{{Parts: payload(5<<20, 1)}, {Parts: payload(100, 2)}},
				Tail:     payload(3000, 3),
			})
			if err != nil {
				t.Fatal(err)
			}
			snap, err := u.Restore(sess.ID, testKey())
			if err != nil {
				t.Fatal(err)
			}
			defer snap.Close()
			got := map[int][]byte{}
			for p, err := range snap.Read(context.Background(), 0) {
				if err != nil {
					t.Fatal(err)
				}
				got[p.Block] = append(got[p.Block], p.Data...)
			}
			want := map[int][]byte{0: fill(5<<20, 1), 1: fill(100, 2), -1: fill(3000, 3)}
			if !cmp.Equal(got, want, cmp.Comparer(bytes.Equal)) {
				t.Fatal("payload differs")
			}
			if d := cmp.Diff([]Message{{Role: "user", Body: []byte("the secret text"), Tokens: ids}}, must(u.Messages(sess.ID))); d != "" {
				t.Fatal(d)
			}
			err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
				st, _ := d.Info()
				t.Log(path, st.Mode(), st.Size())
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
