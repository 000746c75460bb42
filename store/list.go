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
	order []*row // all rows, the last changed first
}

// before orders rows; pages need one order of equals.
func before(a, b *row) int { return cmp.Or(b.Updated.Compare(a.Updated), cmp.Compare(b.id, a.id)) }

// replace puts a row in the place of the one that there was with its id; nil
// removes that. The caller holds mu.
func (l *listing) replace(id int64, r *row) {
	if old := l.rows[id]; old != nil {
		i, _ := slices.BinarySearchFunc(l.order, old, before)
		l.order = slices.Delete(l.order, i, i+1)
		delete(l.rows, id)
	}
	if r != nil {
		i, _ := slices.BinarySearchFunc(l.order, r, before)
		l.order, l.rows[id] = slices.Insert(l.order, i, r), r
	}
}

// loadListing reads all rows.
func (s *Store) loadListing() error {
	s.list.mu.Lock()
	defer s.list.mu.Unlock()
	s.db.changed.take()
	s.list.rows, s.list.order = map[int64]*row{}, nil
	err := queryAll(reads{s.db}, func(from scanner) error {
		r, err := s.scan(from)
		s.list.rows[r.id], s.list.order = &r, append(s.list.order, &r)
		return err
	}, "SELECT "+sessionColumns+" FROM sessions")
	slices.SortFunc(s.list.order, before) // now, or the first who asks would wait for it
	return err
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
		s.list.replace(id, nil)
		return nil
	}
	if err == nil {
		s.list.replace(id, &r)
	}
	return err
}

// Get describes a session.
func (u User) Get(id string) (Session, error) {
	r, err := u.find(reads{u.s.db}, id)
	return r.Session, err
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
	for _, r := range s.list.order {
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
