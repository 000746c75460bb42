package store_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"edged/store"
)

// Example is a session's life: a turn, a restart, a restore.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := remember(filepath.Join(dir, "store")); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 1 messages, 300 tokens, 1 blocks
	// block 0, part 0: 10 bytes
	// block 0, part 1: 20 bytes
	// tail, part 0: 5 bytes
}

func remember(dir string) error {
	ctx := context.Background()
	key := store.Key{Fingerprint: []byte("sha256 of model, layout and build"), Policy: "auto"}

	s, err := store.Open(ctx, store.Options{Dir: dir})
	if err != nil {
		return err
	}
	sess, err := s.User(1000).Create(store.New{Title: "book", Model: "smollm2", Key: key})
	if err != nil {
		return err
	}
	sess, err = s.User(1000).Commit(ctx, sess.ID, store.Turn{
		Messages: []store.Message{{Role: "user", Body: []byte("Call me Ishmael."), Tokens: make([]int32, 300)}},
		Blocks: []store.Block{{Provenance: store.ExactPrefill, Parts: store.Payload{
			{ID: 0, Size: 10, Data: store.Bytes(make([]byte, 10))}, // as a rule a layer's arena
			{ID: 1, Size: 20, Data: store.Bytes(make([]byte, 20))},
		}}},
		Tail: store.Payload{{ID: 0, Size: 5, Data: store.Bytes(make([]byte, 5))}},
	})
	if err != nil {
		return err // nothing of the turn is stored
	}
	fmt.Printf("%d messages, %d tokens, %d blocks\n", sess.Messages, sess.Tokens, sess.Blocks)
	if err := s.Close(); err != nil {
		return err
	}

	if s, err = store.Open(ctx, store.Options{Dir: dir}); err != nil {
		return err
	}
	defer s.Close()
	snap, err := s.User(1000).Restore(sess.ID, key)
	if err != nil {
		return err // of another key: a MismatchError
	}
	defer snap.Close()
	for p, err := range snap.Read(ctx, 0) {
		if err != nil {
			return err
		}
		where := fmt.Sprint("block ", p.Block)
		if p.Block == store.TailBlock {
			where = "tail"
		}
		fmt.Printf("%s, part %d: %d bytes\n", where, p.Part, len(p.Data))
	}
	return nil
}
