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

	mu       sync.Mutex // held while a reservation is made; guards reserved
	reserved int64      // bytes that are being written
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

func (p *space) giveBack(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reserved -= n
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
		err = s.demoteOldest(of.id)
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
// whoever owns it, but not of one. It fails with sql.ErrNoRows when there is none.
func (s *Store) demoteOldest(but int64) error {
	return s.change(func(t txn) error {
		var id int64
		if err := queryRow(t, []any{&id}, "SELECT id FROM sessions WHERE bytes > 0 AND id <> ? ORDER BY used LIMIT 1", but); err != nil {
			return err
		}
		return demote(t, id)
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
