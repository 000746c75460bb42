package store

import (
	"fmt"
	"os"
	"path/filepath"
)

// Stats is what a store holds.
type Stats struct {
	Sessions, Messages, Blocks, Chunks int

	Payload   int64 // bytes that sessions refer to, shared ones once
	ChunkDisk int64 // bytes of chunk files
	IndexDisk int64 // bytes of SQLite's files
	Budget    int64 // for chunk files; 0: no limit
}

// Stat counts what the store holds.
func (s *Store) Stat() (Stats, error) {
	st := Stats{Budget: s.space.budget}
	err := queryRow(reads{s.db}, []any{&st.Sessions, &st.Messages, &st.Blocks, &st.Payload, &st.Chunks, &st.ChunkDisk},
		`SELECT (SELECT count(*) FROM sessions), (SELECT count(*) FROM messages), (SELECT count(*) FROM blocks),
		(SELECT coalesce(sum(bytes), 0) FROM blocks), (SELECT count(*) FROM chunks), (SELECT coalesce(sum(bytes), 0) FROM chunks)`)
	if err != nil {
		return st, fmt.Errorf("stat store: %w", err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(filepath.Join(s.dir, databaseFile+suffix))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return st, fmt.Errorf("stat store: %w", err)
		}
		st.IndexDisk += info.Size()
	}
	return st, nil
}

// Usage is the payload bytes that a session refers to.
type Usage struct {
	Own    int64 // would be freed with it
	Shared int64 // other sessions refer to them, too
}

// Usage says what a session's payload takes.
func (u User) Usage(id string) (Usage, error) {
	var use Usage
	err := u.s.db.view(func(t txn) error {
		r, err := u.find(t, id)
		if err != nil {
			return err
		}
		return queryRow(t, []any{&use.Own, &use.Shared}, `SELECT coalesce(sum(bytes) FILTER (WHERE refs = 1), 0), coalesce(sum(bytes) FILTER (WHERE refs > 1), 0)
			FROM (SELECT bytes, refs FROM refs AS r JOIN blocks ON blocks.id = r.block WHERE r.session = ?)`, r.id)
	})
	if err != nil {
		return Usage{}, fmt.Errorf("measure session %s: %w", id, err)
	}
	return use, nil
}
