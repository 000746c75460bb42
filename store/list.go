package store

import (
	"cmp"
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
	After string // id of the last session before those that are wanted
	Limit int    // most sessions; 0 = no limit
}

func (f Filter) matches(s *Session) bool {
	return (f.Title == "" || f.Title == s.Title) && (f.Tag == "" || slices.Contains(s.Tags, f.Tag))
}

// listing is all sessions' rows in memory: reading 10,000 of them from SQLite
// takes a tenth of a second. Rows that have changed are read again.
type listing struct {
	mu    sync.Mutex // guards what follows
	rows  map[int64]*row
	order []*row // the last changed first; nil where it is not known
}

// loadListing reads all rows.
func (s *Store) loadListing() error {
	s.list.mu.Lock()
	defer s.list.mu.Unlock()
	s.db.changed.take()
	s.list.rows, s.list.order = map[int64]*row{}, nil
	return queryAll(reads{s.db}, func(from scanner) error {
		r, err := s.scan(from)
		s.list.rows[r.id] = &r
		return err
	}, "SELECT "+sessionColumns+" FROM sessions")
}

// refresh reads the rows that have changed. The caller holds list.mu.
func (s *Store) refresh() error {
	changed := s.db.changed.take()
	if len(changed) > 0 {
		s.list.order = nil
	}
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

// sorted is all rows, the last changed first. The caller holds mu.
func (l *listing) sorted() []*row {
	if l.order == nil {
		l.order = make([]*row, 0, len(l.rows))
		for _, r := range l.rows {
			l.order = append(l.order, r)
		}
		slices.SortFunc(l.order, func(a, b *row) int {
			return cmp.Or(b.Updated.Compare(a.Updated), cmp.Compare(b.id, a.id)) // pages need one order of equals
		})
	}
	return l.order
}

// List describes sessions, the last changed first. It fails with [ErrNotFound] when
// none that the filter chooses is f.After.
func (u User) List(f Filter) ([]Session, error) {
	s := u.s
	s.list.mu.Lock()
	defer s.list.mu.Unlock()
	if err := s.refresh(); err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	list, begun := []Session{}, f.After == ""
	for _, r := range s.list.sorted() {
		switch {
		case r.owner != u.uid || !f.matches(&r.Session):
			continue
		case !begun:
			begun = r.ID == f.After
			continue
		}
		list = append(list, r.Session)
		last := &list[len(list)-1]
		last.Tags, last.Key.Fingerprint = slices.Clone(r.Tags), slices.Clone(r.Key.Fingerprint)
		if len(list) == f.Limit {
			break
		}
	}
	if !begun {
		return nil, fmt.Errorf("list sessions after %s: %w", f.After, ErrNotFound)
	}
	return list, nil
}
