package store

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// Messages reads all messages of a session, with their tokens.
func (u User) Messages(id string) ([]Message, error) {
	var list []Message
	err := u.s.db.view(func(t txn) error {
		r, err := u.find(t, id)
		if err != nil {
			return err
		}
		list, err = u.s.messages(t, r, r.Messages)
		return err
	})
	return list, err
}

// messages reads the first n messages of a session.
func (s *Store) messages(r runner, of row, n int) ([]Message, error) {
	list := make([]Message, 0, min(n, of.Messages))
	err := queryAll(r, func(from scanner) error {
		var m Message
		var idx int
		var body, ids []byte
		err := from.Scan(&idx, &m.Role, &body, &ids)
		if err != nil {
			return err
		}
		if idx != len(list) {
			return fmt.Errorf("%w: message %d is missing", ErrCorrupt, len(list))
		}
		if m.Body, err = s.seal.open(column(of.ID, "body", idx), body); err != nil {
			return err
		}
		m.Tokens, err = s.openTokens(of.ID, idx, ids)
		list = append(list, m)
		return err
	}, "SELECT idx, role, body, ids FROM messages WHERE session = ? AND idx < ? ORDER BY idx", of.id, n)
	if err != nil {
		return nil, fmt.Errorf("read messages of session %s: %w", of.ID, err)
	}
	return list, nil
}

// tokens reads a session's tokens from a position on.
func (s *Store) tokens(r runner, of row, from int) ([]int32, error) {
	ids := make([]int32, 0, max(0, of.Tokens-from))
	err := queryAll(r, func(sc scanner) error {
		var idx, start int
		var sealed []byte
		if err := sc.Scan(&idx, &start, &sealed); err != nil {
			return err
		}
		part, err := s.openTokens(of.ID, idx, sealed)
		if err != nil {
			return err
		}
		ids = append(ids, part[min(len(part), max(0, from-start)):]...)
		return nil
	}, "SELECT idx, start, ids FROM messages WHERE session = ? AND start + tokens > ? ORDER BY idx", of.id, from)
	if err != nil {
		return nil, fmt.Errorf("read tokens of session %s: %w", of.ID, err)
	}
	if len(ids) != max(0, of.Tokens-from) {
		return nil, fmt.Errorf("%w: session %s has %d tokens after %d, its row says %d", ErrCorrupt, of.ID, len(ids), from, of.Tokens-from)
	}
	return ids, nil
}

func (s *Store) openTokens(session string, idx int, sealed []byte) ([]int32, error) {
	b, err := s.seal.open(column(session, "ids", idx), sealed)
	if err != nil {
		return nil, err
	}
	if len(b)%4 != 0 {
		return nil, fmt.Errorf("%w: %d bytes are no tokens", ErrCorrupt, len(b))
	}
	return decodeTokens(b), nil
}

func encodeTokens(ids []int32) []byte {
	b := make([]byte, 0, 4*len(ids))
	for _, t := range ids {
		b = binary.LittleEndian.AppendUint32(b, uint32(t))
	}
	return b
}

func decodeTokens(b []byte) []int32 {
	ids := make([]int32, 0, len(b)/4)
	for ; len(b) > 0; b = b[4:] {
		ids = append(ids, int32(binary.LittleEndian.Uint32(b)))
	}
	return ids
}

// appendMessages adds messages behind those that the session has.
func (s *Store) appendMessages(t txn, to *row, list []Message) error {
	for _, m := range list {
		if len(m.Tokens) > math.MaxInt32-to.Tokens {
			return fmt.Errorf("%w: more than %d tokens", ErrInvalid, math.MaxInt32)
		}
		_, err := execute(t, "INSERT INTO messages (session, idx, role, start, tokens, body, ids) VALUES (?, ?, ?, ?, ?, ?, ?)",
			to.id, to.Messages, m.Role, to.Tokens, len(m.Tokens),
			s.seal.seal(column(to.ID, "body", to.Messages), slices.Clip(m.Body)),
			s.seal.seal(column(to.ID, "ids", to.Messages), encodeTokens(m.Tokens)))
		if err != nil {
			return fmt.Errorf("insert message: %w", err)
		}
		to.Messages++
		to.Tokens += len(m.Tokens)
	}
	return nil
}
