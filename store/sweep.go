package store

import (
	"fmt"

	"edged/store/chunk"
)

// sweep removes the rows of blocks that no session refers to and of chunks
// that no block lies in. The caller removes the chunks' files once the
// transaction is durable, and in any case settles them: in the other order, a
// crash would lose them.
func (s *Store) sweep(t txn) ([]chunk.Ref, error) {
	if _, err := execute(t, "DELETE FROM blocks WHERE refs = 0"); err != nil {
		return nil, fmt.Errorf("delete unused blocks: %w", err)
	}
	var gone []chunk.Ref
	err := queryAll(t, func(from scanner) error {
		ref, err := scanChunk(from)
		gone = append(gone, ref)
		return err
	}, "SELECT id, sum, bytes FROM chunks WHERE live = 0")
	if err != nil || len(gone) == 0 {
		return nil, err
	}
	s.files.leaving(gone)
	if _, err := execute(t, "DELETE FROM chunks WHERE live = 0"); err != nil {
		return gone, fmt.Errorf("delete unused chunks: %w", err)
	}
	return gone, nil
}

// change runs f and a sweep in one transaction, and then removes files.
func (s *Store) change(f func(txn) error) error {
	var gone []chunk.Ref
	err := s.db.update(func(t txn) error {
		if err := f(t); err != nil {
			return err
		}
		var err error
		gone, err = s.sweep(t)
		return err
	})
	if err == nil {
		// The change is durable: files that stay by an error are orphans, for GC.
		_ = s.files.remove(gone)
	}
	s.files.settled(numbersOf(gone))
	return err
}

func numbersOf(refs []chunk.Ref) []uint64 {
	numbers := make([]uint64, len(refs))
	for i, ref := range refs {
		numbers[i] = ref.Number
	}
	return numbers
}

// scanChunk reads id, sum and bytes of a row of chunks.
func scanChunk(from scanner) (chunk.Ref, error) {
	var number, sum, bytes int64
	err := from.Scan(&number, &sum, &bytes)
	return chunk.Ref{Number: uint64(number), Sum: uint64(sum), Bytes: bytes}, err
}
