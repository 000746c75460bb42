package store

import (
	"crypto/rand"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// New is what a session begins with.
type New struct {
	Title string
	Tags  []string
	Model string
	Key   Key // zero: nothing but text until [User.Demote] gives it one
}

func (n New) check() error {
	if len(n.Model) > maxName || !utf8.ValidString(n.Model) {
		return fmt.Errorf("%w: model name of %d bytes, at most %d of UTF-8 are allowed", ErrInvalid, len(n.Model), maxName)
	}
	if err := checkLabels(n.Title, n.Tags); err != nil {
		return err
	}
	if n.Key.Equal(Key{}) {
		return nil
	}
	return n.Key.check()
}

// Create makes an empty session.
func (u User) Create(n New) (Session, error) {
	r, err := u.newRow(n)
	if err == nil {
		err = u.s.db.update(func(t txn) error { return u.insert(t, &r) })
	}
	if err != nil {
		return Session{}, fmt.Errorf("create session: %w", err)
	}
	return r.Session, nil
}

func (u User) newRow(n New) (row, error) {
	if err := n.check(); err != nil {
		return row{}, err
	}
	now := time.Now().Round(0)
	return row{pure: true, Session: Session{
		ID: strings.ToLower(rand.Text()), Title: n.Title, Tags: n.Tags, Model: n.Model, Key: n.Key,
		Created: now, Updated: now, Used: now,
	}}, nil
}

// insert adds a session's row, all but its counts, which [Store.save] writes.
func (u User) insert(t txn, r *row) error {
	res, err := execute(t, `INSERT INTO sessions (name_id, owner, parent, title, tags, model, fingerprint, policy, calibration,
		created, updated, used, messages, tokens, blocks, tail, bytes, pure) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0, 0, ?)`,
		r.ID, u.uid, r.Parent, u.s.seal.seal(column(r.ID, "title", 0), []byte(r.Title)), u.s.seal.seal(column(r.ID, "tags", 0), encodeTags(r.Tags)),
		r.Model, append([]byte{}, r.Key.Fingerprint...), r.Key.Policy, r.Key.Calibration, r.Created.UnixNano(), r.Updated.UnixNano(), r.Used.UnixNano(), r.pure)
	if err != nil {
		return fmt.Errorf("insert session: %w", err)
	}
	r.id, err = res.LastInsertId()
	return err
}

// save writes what a turn changes in a session's row.
func (s *Store) save(t txn, r row) error {
	_, err := execute(t, "UPDATE sessions SET updated = ?, used = ?, messages = ?, tokens = ?, blocks = ?, tail = ?, bytes = ?, pure = ? WHERE id = ?",
		r.Updated.UnixNano(), r.Used.UnixNano(), r.Messages, r.Tokens, r.Blocks, r.Tail, r.Bytes, r.pure, r.id)
	if err != nil {
		return fmt.Errorf("update session: %w", err)
	}
	return nil
}
