package store

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// Limits of what one session may hold in the database.
const (
	maxBody = 64 << 20 // bytes of a message
	maxTags = 64
)

// Session is what the store knows of a conversation, without its contents.
type Session struct {
	ID      string // made by the store
	Title   string
	Tags    []string
	Model   string // name, for people; Key decides
	Key     Key
	Parent  string // session that this was forked from, or empty
	Created time.Time
	Updated time.Time // last turn or edit
	Used    time.Time // last turn or restore

	Messages int
	Tokens   int
	Blocks   int   // of BlockTok tokens, from the first; 0 when there is only text
	Tail     bool  // whether the payload after the last whole block is there
	Bytes    int64 // of blocks and tail, shared ones too

	// Damage says what of the title and tags could not be read; empty when all is well.
	Damage string
}

// Message is one message of a session: text, and the tokens that it became.
type Message struct {
	Role   string
	Body   []byte  // text or JSON, the caller's
	Tokens []int32 // of this message and what the template puts around it
}

func (m Message) check() error {
	switch {
	case len(m.Role) > maxName || !utf8.ValidString(m.Role):
		return fmt.Errorf("%w: role of %d bytes, at most %d of UTF-8 are allowed", ErrInvalid, len(m.Role), maxName)
	case len(m.Body) > maxBody:
		return fmt.Errorf("%w: message of %d bytes, at most %d are allowed", ErrInvalid, len(m.Body), maxBody)
	case len(m.Tokens) > maxBody/4:
		return fmt.Errorf("%w: message of %d tokens, at most %d are allowed", ErrInvalid, len(m.Tokens), maxBody/4)
	}
	return nil
}

// User is one user's view of a store: sessions of others do not exist in it.
type User struct {
	s   *Store
	uid uint32
}

// User is the view of the user with a uid.
func (s *Store) User(uid uint32) User { return User{s, uid} }

// row is a session as it lies in the database.
type row struct {
	Session
	id    int64
	owner uint32
	pure  bool
}

const sessionColumns = `id, owner, name_id, parent, title, tags, model, fingerprint, policy, calibration,
	created, updated, used, messages, tokens, blocks, tail, bytes, pure`

// scan reads a row of sessionColumns.
func (s *Store) scan(from scanner) (row, error) {
	var r row
	var title, tags []byte
	var created, updated, used int64
	err := from.Scan(&r.id, &r.owner, &r.ID, &r.Parent, &title, &tags, &r.Model, &r.Key.Fingerprint, &r.Key.Policy, &r.Key.Calibration,
		&created, &updated, &used, &r.Messages, &r.Tokens, &r.Blocks, &r.Tail, &r.Bytes, &r.pure)
	if err != nil {
		return row{}, err
	}
	if r.Key.none() {
		r.Key.Fingerprint = nil
	}
	r.Created, r.Updated, r.Used = time.Unix(0, created), time.Unix(0, updated), time.Unix(0, used)
	if err := s.openLabels(&r.Session, title, tags); err != nil {
		r.Damage = err.Error() // the conversation may be whole
	}
	return r, nil
}

// openLabels reads what is sealed of a session's row.
func (s *Store) openLabels(to *Session, title, tags []byte) error {
	title, err := s.seal.open(column(to.ID, "title", 0), title)
	if err != nil {
		return err
	}
	to.Title = string(title)
	if tags, err = s.seal.open(column(to.ID, "tags", 0), tags); err != nil || len(tags) == 0 {
		return err
	}
	if err := json.Unmarshal(tags, &to.Tags); err != nil {
		return fmt.Errorf("%w: tags: %w", ErrCorrupt, err)
	}
	return nil
}

// find reads a session's row.
func (u User) find(r runner, id string) (row, error) {
	st, err := r.stmt("SELECT " + sessionColumns + " FROM sessions WHERE name_id = ? AND owner = ?")
	if err != nil {
		return row{}, err
	}
	found, err := u.s.scan(st.QueryRow(id, u.uid))
	if errors.Is(err, sql.ErrNoRows) {
		return row{}, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	if err != nil {
		return row{}, fmt.Errorf("read session %s: %w", id, err)
	}
	return found, nil
}

// encodeTags is a session's tags as they are sealed.
func encodeTags(tags []string) []byte {
	if len(tags) == 0 {
		return nil
	}
	b, err := json.Marshal(tags)
	if err != nil {
		panic(err) // strings always marshal
	}
	return b
}

func checkLabels(title string, tags []string) error {
	if len(tags) > maxTags {
		return fmt.Errorf("%w: %d tags, at most %d are allowed", ErrInvalid, len(tags), maxTags)
	}
	for _, l := range append([]string{title}, tags...) {
		if len(l) > maxName || !utf8.ValidString(l) {
			return fmt.Errorf("%w: title or tag of %d bytes, at most %d of UTF-8 are allowed", ErrInvalid, len(l), maxName)
		}
	}
	return nil
}
