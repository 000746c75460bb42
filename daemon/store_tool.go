package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"edged/store"
)

var (
	// ErrStoreInUse means that a process, most probably a daemon, has the store open.
	ErrStoreInUse = errors.New("the store is in use")
	// ErrStoreDamaged means that the store cannot even be opened.
	ErrStoreDamaged = errors.New("the store is damaged")
)

// StoreTool looks at a store, and cleans it, while no daemon runs. It belongs to
// one goroutine and must be closed.
type StoreTool struct{ s *store.Store }

// StoreConfig is the [store] of the configuration, without what only a daemon
// needs, such as models.
func (s Source) StoreConfig() (Store, error) {
	doc, err := readConfigFile(s.File, s.Required)
	if err != nil {
		return Store{}, err
	}
	c, err := ParseConfig(s.File, doc)
	if err != nil {
		return Store{}, err
	}
	base, err := filepath.Abs(filepath.Dir(s.File))
	if err != nil {
		return Store{}, fmt.Errorf("find the configuration's folder: %w", err)
	}
	s.completeStore(&c.Store, base)
	return c.Store, nil
}

// completeStore gives the store its folder.
func (s Source) completeStore(c *Store, base string) {
	if c.Dir == "" {
		c.Dir = s.Paths.Sessions
		return
	}
	c.Dir = s.absolute(base, c.Dir)
}

// OpenStore opens the store that a configuration names, and makes none.
func OpenStore(ctx context.Context, src Source) (*StoreTool, error) {
	c, err := src.StoreConfig()
	if err != nil {
		return nil, &ConfigError{err}
	}
	if _, err := os.Stat(c.Dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open store %s: there is none", c.Dir)
	}
	c.Enabled = true // what lies there can be looked at all the same
	s, err := openSessions(ctx, c, src.Paths.Credentials)
	var locked *store.LockedError
	switch {
	case errors.As(err, &locked):
		return nil, fmt.Errorf("%w: %w; stop the daemon first: systemctl stop edged, or systemctl --user stop edged", ErrStoreInUse, locked)
	case errors.Is(err, store.ErrCorrupt), errors.Is(err, store.ErrIndexLost):
		return nil, fmt.Errorf("%w: %w", ErrStoreDamaged, err)
	case err != nil:
		return nil, err
	}
	return &StoreTool{s}, nil
}

// Close ends the use of the store.
func (t *StoreTool) Close() error { return closeSessions(t.s) }

// StoreCheck is what a check has found.
type StoreCheck struct {
	Problems []StoreProblem `json:"problems"`
	Damaged  int            `json:"damaged"` // problems by which something is lost
	Sessions int            `json:"sessions"`
	Chunks   int            `json:"chunks"`
	Bytes    int64          `json:"bytes"` // that were read of chunk files
}

// StoreProblem is one thing that is not as it should be.
type StoreProblem struct {
	Fault  string `json:"fault"`
	Where  string `json:"where"`
	Detail string `json:"detail"`
}

// Check compares everything that is stored twice, with payload every byte of it.
func (t *StoreTool) Check(ctx context.Context, payload bool) (StoreCheck, error) {
	found, err := t.s.Check(ctx, payload)
	if err != nil {
		return StoreCheck{}, err
	}
	c := StoreCheck{Problems: []StoreProblem{}, Sessions: found.Sessions, Chunks: found.Chunks, Bytes: found.Bytes}
	for _, p := range found.Problems {
		c.Problems = append(c.Problems, StoreProblem{string(p.Fault), p.Where, p.Detail})
		// A crash leaves orphans, which GC removes; other stores' files are none of this one's.
		if p.Fault != store.FaultOrphan && p.Fault != store.FaultForeign {
			c.Damaged++
		}
	}
	return c, nil
}

// StoreCollected is what a collection has done.
type StoreCollected struct {
	Orphans     int   `json:"orphans"` // files that nothing refers to, removed
	OrphanBytes int64 `json:"orphan_bytes"`
	Rewritten   int   `json:"rewritten"` // files whose live part was moved
	Written     int64 `json:"written"`   // bytes of the new ones
	Freed       int64 `json:"freed"`     // bytes of the rewritten ones

	Foreign      int   `json:"foreign"` // files of other stores, left
	ForeignBytes int64 `json:"foreign_bytes"`
}

// GC removes what nothing refers to, and joins small files.
func (t *StoreTool) GC(ctx context.Context) (StoreCollected, error) {
	c, err := t.s.GC(ctx)
	return StoreCollected(c), err
}

// StoreStats is what a store holds.
type StoreStats struct {
	Sessions  int   `json:"sessions"`
	Messages  int   `json:"messages"`
	Blocks    int   `json:"blocks"`
	Chunks    int   `json:"chunks"`
	Payload   int64 `json:"payload"`    // bytes that sessions refer to, shared ones once
	ChunkDisk int64 `json:"chunk_disk"` // bytes of chunk files
	IndexDisk int64 `json:"index_disk"` // bytes of the database
	Budget    int64 `json:"budget"`     // for chunk files; 0 = no limit
}

// Stat counts what the store holds.
func (t *StoreTool) Stat() (StoreStats, error) {
	s, err := t.s.Stat()
	return StoreStats(s), err
}
