package store

import (
	"bytes"
	"context"
	"errors"
	"math"
	"testing"

	"edged/store/disk/disktest"
)

// fillAll reads a snapshot's blocks from a number on, and its tail, into memory in
// pieces of all lengths.
func fillAll(snap *Snapshot, from int) (map[int][]byte, error) {
	mem := map[int][][]byte{} // by block: its spans, one after the other
	err := snap.Fill(context.Background(), from, func(x Span) ([]Target, error) {
		b := make([]byte, x.Size)
		mem[x.Block] = append(mem[x.Block], b)
		var to []Target
		for n := 1 + len(b)%1000; len(b) > 0; n = min(3*n, 1<<20) {
			mem := b[:min(n, len(b))]
			if len(to)%3 == 1 {
				to = append(to, Target{Size: len(mem), Put: func(data []byte) error {
					copy(mem, data)
					return nil
				}})
			} else {
				to = append(to, Target{Mem: mem})
			}
			b = b[len(mem):]
		}
		return to, nil
	})
	got := map[int][]byte{}
	for block, spans := range mem {
		got[block] = bytes.Join(spans, nil)
	}
	return got, err
}

// TestFillLeavesOut: what is not wanted is not read, and what has no room is
// refused.
func TestFillLeavesOut(t *testing.T) {
	s, f, sess := faultyStore(t, disktest.ReadError, nil)
	snap := must(s.User(1).Restore(sess.ID, testKey()))
	defer snap.Close()
	f.Arm(0) // no file may be opened
	if err := snap.Fill(context.Background(), 0, func(Span) ([]Target, error) { return nil, nil }); err != nil || f.Disarm() {
		t.Fatalf("a file was read of which nothing is wanted: %v", err)
	}
	var at []int
	err := snap.Fill(context.Background(), math.MaxInt, func(x Span) ([]Target, error) {
		at = append(at, x.Block)
		return []Target{{Mem: make([]byte, x.Size)}}, nil
	})
	if err != nil || len(at) != 1 || at[0] != TailBlock {
		t.Fatalf("blocks %v were filled instead of the tail: %v", at, err)
	}
	if err := snap.Fill(context.Background(), 0, func(x Span) ([]Target, error) { return []Target{{Mem: make([]byte, x.Size-1)}}, nil }); err == nil {
		t.Fatal("memory that is too short was filled")
	}
	refused := errors.New("no room")
	if err := snap.Fill(context.Background(), 0, func(Span) ([]Target, error) { return nil, refused }); !errors.Is(err, refused) {
		t.Fatalf("a refusal became %v", err)
	}
	if err := snap.Fill(context.Background(), 0, func(x Span) ([]Target, error) {
		return []Target{{Size: int(x.Size), Put: func([]byte) error { return refused }}}, nil
	}); !errors.Is(err, refused) {
		t.Fatalf("a refusal of bytes became %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := snap.Fill(ctx, 0, func(x Span) ([]Target, error) { return []Target{{Mem: make([]byte, x.Size)}}, nil }); !errors.Is(err, context.Canceled) {
		t.Fatalf("a caller that has left got %v", err)
	}
}
