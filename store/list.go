package store

import (
	"fmt"
	"slices"
)

// Filter chooses sessions; zero fields choose all.
type Filter struct {
	Title string // equal
	Tag   string // one of the tags
}

func (f Filter) matches(s Session) bool {
	return (f.Title == "" || f.Title == s.Title) && (f.Tag == "" || slices.Contains(s.Tags, f.Tag))
}

// Get describes a session.
func (u User) Get(id string) (Session, error) {
	r, err := u.find(reads{u.s.db}, id)
	return r.Session, err
}

// List describes sessions, the last changed first. Titles and tags may be
// sealed, so that the filter is applied here and not in the database.
func (u User) List(f Filter) ([]Session, error) {
	var list []Session
	err := queryAll(reads{u.s.db}, func(from scanner) error {
		r, err := u.s.scan(from)
		if err == nil && f.matches(r.Session) {
			list = append(list, r.Session)
		}
		return err
	}, "SELECT "+sessionColumns+" FROM sessions WHERE owner = ?", u.uid)
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	slices.SortFunc(list, func(a, b Session) int { return b.Updated.Compare(a.Updated) })
	return list, nil
}
