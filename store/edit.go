package store

import (
	"fmt"
	"slices"
	"time"
)

// Edit is what may be changed about a session; nil fields stay.
type Edit struct {
	Title *string
	Tags  *[]string
}

// Edit renames and tags a session.
func (u User) Edit(id string, e Edit) (Session, error) {
	var r row
	err := u.s.db.update(func(t txn) error {
		var err error
		if r, err = u.find(t, id); err != nil {
			return err
		}
		if e.Title != nil {
			r.Title = *e.Title
		}
		if e.Tags != nil {
			r.Tags = slices.Clone(*e.Tags)
		}
		if err := checkLabels(r.Title, r.Tags); err != nil {
			return err
		}
		r.Updated = time.Now().Round(0)
		_, err = execute(t, "UPDATE sessions SET title = ?, tags = ?, updated = ? WHERE id = ?",
			u.s.seal.seal(column(r.ID, "title", 0), []byte(r.Title)), u.s.seal.seal(column(r.ID, "tags", 0), encodeTags(r.Tags)), r.Updated.UnixNano(), r.id)
		return err
	})
	if err != nil {
		return Session{}, fmt.Errorf("edit session %s: %w", id, err)
	}
	return r.Session, nil
}

// Demote gives a session's payload back; text and tokens stay. Its blocks begin
// again at 0, under key and for a model: the turn that recomputes them may have no
// messages.
func (u User) Demote(id string, key Key, model string) (Session, error) {
	if err := (New{Model: model, Key: key}).check(); err != nil {
		return Session{}, fmt.Errorf("demote session %s: %w", id, err)
	}
	var r row
	err := u.s.change(func(t txn) error {
		found, err := u.find(t, id)
		if err != nil {
			return err
		}
		if err := demote(t, found.id); err != nil {
			return err
		}
		_, err = execute(t, "UPDATE sessions SET model = ?, fingerprint = ?, policy = ?, calibration = ? WHERE id = ?", model, key.Fingerprint, key.Policy, key.Calibration, found.id)
		if err != nil {
			return err
		}
		r, err = u.find(t, id)
		return err
	})
	if err != nil {
		return Session{}, fmt.Errorf("demote session %s: %w", id, err)
	}
	return r.Session, nil
}

// Delete removes a session: text, tokens, and payload that no other session
// refers to.
func (u User) Delete(id string) error {
	err := u.s.change(func(t txn) error {
		r, err := u.find(t, id)
		if err != nil {
			return err
		}
		if err := demote(t, r.id); err != nil { // references first: their triggers count
			return err
		}
		_, err = execute(t, "DELETE FROM sessions WHERE id = ?", r.id)
		return err
	})
	if err != nil {
		return fmt.Errorf("delete session %s: %w", id, err)
	}
	return nil
}
