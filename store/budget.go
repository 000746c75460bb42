package store

import (
	"database/sql"
	"errors"
	"fmt"
	"sync"
)

// space is the disk budget of payload files.
type space struct {
	budget int64 // bytes; 0: no limit

	mu       sync.Mutex    // held while a reservation is made; guards what follows
	reserved int64         // bytes that are being written
	growing  map[int64]int // sessions with turns on their way, which are not demoted
}

// reserve makes room for a payload of a session by demoting others, those
// first that were not used for longest. giveBack ends the reservation.
func (s *Store) reserve(need int64, of row) error {
	s.space.mu.Lock()
	defer s.space.mu.Unlock()
	if s.space.budget > 0 && need > 0 {
		if err := s.makeRoom(need, of); err != nil {
			return err
		}
	}
	s.space.reserved += need
	return nil
}

// giveBack ends a turn and all its reservations.
func (s *Store) giveBack(n int64, of row) {
	s.space.mu.Lock()
	defer s.space.mu.Unlock()
	s.space.reserved -= n
	if s.space.growing[of.id]--; s.space.growing[of.id] == 0 {
		delete(s.space.growing, of.id)
	}
}

// grow notes that a turn is on its way.
func (s *Store) grow(of row) {
	s.space.mu.Lock()
	defer s.space.mu.Unlock()
	s.space.growing[of.id]++
}

func (s *Store) makeRoom(need int64, of row) error {
	if own := of.Bytes + need; own > s.space.budget {
		return fmt.Errorf("%w: the session would take %d of %d bytes", ErrBudget, own, s.space.budget)
	}
	for {
		used, err := s.diskBytes(reads{s.db})
		if err != nil {
			return err
		}
		if used+s.space.reserved+need <= s.space.budget {
			return nil
		}
		err = s.demoteOldest()
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("%w: %d bytes more than %d stored and %d being written, of %d", ErrBudget, need, used, s.space.reserved, s.space.budget)
		}
		if err != nil {
			return fmt.Errorf("make room on disk: %w", err)
		}
	}
}

// diskBytes is the bytes of all payload files.
func (s *Store) diskBytes(r runner) (n int64, err error) {
	err = queryRow(r, []any{&n}, "SELECT coalesce(sum(bytes), 0) FROM chunks")
	return n, err
}

// demoteOldest takes the payload of the session that was not used for longest,
// whoever owns it, but of none that grows. It fails with sql.ErrNoRows when
// there is none. The caller holds space.mu.
func (s *Store) demoteOldest() error {
	return s.change(func(t txn) error {
		var oldest int64
		err := queryAll(t, func(from scanner) error {
			var id int64
			err := from.Scan(&id)
			if oldest == 0 && s.space.growing[id] == 0 {
				oldest = id
			}
			return err
		}, "SELECT id FROM sessions WHERE bytes > 0 ORDER BY used LIMIT ?", len(s.space.growing)+1)
		if err != nil {
			return err
		}
		if oldest == 0 {
			return sql.ErrNoRows
		}
		return demote(t, oldest)
	})
}

// demote ends a session's claim on all payload.
func demote(t txn, session int64) error {
	if _, err := execute(t, "DELETE FROM refs WHERE session = ?", session); err != nil {
		return fmt.Errorf("delete references: %w", err)
	}
	_, err := execute(t, "UPDATE sessions SET blocks = 0, tail = 0, bytes = 0, pure = 1 WHERE id = ?", session)
	return err
}
