package store

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Filter chooses sessions; zero fields choose all.
type Filter struct {
	Title string // equal
	Tag   string // one of the tags
}

func (f Filter) matches(s *Session) bool {
	return (f.Title == "" || f.Title == s.Title) && (f.Tag == "" || slices.Contains(s.Tags, f.Tag))
}

// listing is all sessions' rows in memory: reading 10,000 of them from SQLite
// takes a tenth of a second. Rows that have changed are read again.
type listing struct {
	mu   sync.Mutex // guards rows
	rows map[int64]*row
}

// loadListing reads all rows.
func (s *Store) loadListing() error {
	s.list.mu.Lock()
	defer s.list.mu.Unlock()
	s.db.changed.take()
	s.list.rows = map[int64]*row{}
	return queryAll(reads{s.db}, func(from scanner) error {
		r, err := s.scan(from)
		s.list.rows[r.id] = &r
		return err
	}, "SELECT "+sessionColumns+" FROM sessions")
}

// refresh reads the rows that have changed. The caller holds list.mu.
func (s *Store) refresh() error {
	changed := s.db.changed.take()
	for id := range changed {
		if err := s.refreshRow(id); err != nil {
			s.db.changed.putBack(changed)
			return err
		}
	}
	return nil
}

func (s *Store) refreshRow(id int64) error {
	st, err := reads{s.db}.stmt("SELECT " + sessionColumns + " FROM sessions WHERE id = ?")
	if err != nil {
		return err
	}
	r, err := s.scan(st.QueryRow(id))
	if errors.Is(err, sql.ErrNoRows) {
		delete(s.list.rows, id)
		return nil
	}
	if err == nil {
		s.list.rows[id] = &r
	}
	return err
}

// Get describes a session.
func (u User) Get(id string) (Session, error) {
	r, err := u.find(reads{u.s.db}, id)
	return r.Session, err
}

// List describes sessions, the last changed first.
func (u User) List(f Filter) ([]Session, error) {
	s := u.s
	s.list.mu.Lock()
	defer s.list.mu.Unlock()
	if err := s.refresh(); err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	var found []*Session
	for _, r := range s.list.rows {
		if r.owner == u.uid && f.matches(&r.Session) {
			found = append(found, &r.Session)
		}
	}
	slices.SortFunc(found, func(a, b *Session) int { return b.Updated.Compare(a.Updated) })
	list := make([]Session, len(found))
	for i, from := range found {
		list[i] = *from
		list[i].Tags = slices.Clone(from.Tags)
		list[i].Key.Fingerprint = slices.Clone(from.Key.Fingerprint)
	}
	return list, nil
}
