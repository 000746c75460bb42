package store

import "fmt"

// Fork makes a session of the first n messages of another, which share all
// whole blocks of their tokens. With all messages, the tail is shared too;
// before that there is none, and tokens after the last whole block are to be
// computed again.
func (u User) Fork(id string, n int, title string) (Session, error) {
	var r row
	err := u.s.db.update(func(t txn) error {
		from, err := u.find(t, id)
		if err != nil {
			return err
		}
		if n < 0 || n > from.Messages {
			return fmt.Errorf("%w: fork after message %d of %d", ErrInvalid, n, from.Messages)
		}
		if r, err = u.newRow(New{Title: title, Tags: from.Tags, Model: from.Model, Key: from.Key}); err != nil {
			return err
		}
		r.Parent = from.ID
		if err := u.insert(t, &r); err != nil {
			return err
		}
		list, err := u.s.messages(t, from, n)
		if err != nil {
			return err
		}
		if err := u.s.appendMessages(t, &r, list); err != nil {
			return err
		}
		if err := share(t, from, &r); err != nil {
			return err
		}
		return u.s.save(t, r)
	})
	if err != nil {
		return Session{}, fmt.Errorf("fork session %s: %w", id, err)
	}
	return r.Session, nil
}

// share refers to what another session's payload has of a session's tokens.
func share(t txn, from row, to *row) error {
	to.Blocks = min(from.Blocks, to.Tokens/BlockTok)
	first := 0
	if to.Messages == from.Messages && from.Tail {
		to.Tail, first = true, tailIdx
	}
	_, err := execute(t, "INSERT INTO refs (session, idx, block) SELECT ?, idx, block FROM refs WHERE session = ? AND idx >= ? AND idx < ?",
		to.id, from.id, first, to.Blocks)
	if err != nil {
		return fmt.Errorf("share blocks: %w", err)
	}
	var unshared int
	err = queryRow(t, []any{&to.Bytes, &unshared},
		"SELECT coalesce(sum(bytes), 0), count(*) FILTER (WHERE shared = 0 AND idx >= 0) FROM refs JOIN blocks ON blocks.id = refs.block WHERE session = ?", to.id)
	to.pure = unshared == 0
	return err
}
