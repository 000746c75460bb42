package store

import "fmt"

// dropTokens ends a session's claim on its last n tokens: they go from the
// messages' rows, and all blocks that they are in from the session's.
func (s *Store) dropTokens(t txn, r *row, n int) error {
	if n == 0 {
		return nil
	}
	keep := r.Tokens - n
	if err := s.cutTokens(t, r, keep); err != nil {
		return err
	}
	blocks := min(r.Blocks, keep/BlockTok)
	if err := dropRefs(t, r, "idx >= ?", blocks); err != nil {
		return err
	}
	r.Blocks, r.Tokens = blocks, keep
	r.pure = r.pure || keep == 0
	return nil
}

// dropRefs ends a session's claim on the blocks whose places a condition with
// one argument chooses.
func dropRefs(t txn, r *row, which string, arg int) error {
	var bytes int64
	err := queryRow(t, []any{&bytes}, "SELECT coalesce(sum(bytes), 0) FROM refs JOIN blocks ON blocks.id = refs.block WHERE session = ? AND "+which, r.id, arg)
	if err == nil {
		_, err = execute(t, "DELETE FROM refs WHERE session = ? AND "+which, r.id, arg)
	}
	if err != nil {
		return fmt.Errorf("drop blocks: %w", err)
	}
	r.Bytes -= bytes
	return nil
}

// cutTokens leaves a session's messages keep tokens.
func (s *Store) cutTokens(t txn, r *row, keep int) error {
	type cut struct {
		id         int64
		idx, start int
		ids        []byte
	}
	var cuts []cut
	err := queryAll(t, func(from scanner) error {
		var c cut
		err := from.Scan(&c.id, &c.idx, &c.start, &c.ids)
		cuts = append(cuts, c)
		return err
	}, "SELECT id, idx, start, ids FROM messages WHERE session = ? AND start + tokens > ?", r.id, keep)
	if err != nil {
		return fmt.Errorf("read tokens: %w", err)
	}
	for _, c := range cuts {
		ids, err := s.openTokens(r.ID, c.idx, c.ids)
		if err != nil {
			return err
		}
		ids = ids[:min(len(ids), max(0, keep-c.start))]
		_, err = execute(t, "UPDATE messages SET tokens = ?, ids = ? WHERE id = ?", len(ids), s.seal.seal(column(r.ID, "ids", c.idx), encodeTokens(ids)), c.id)
		if err != nil {
			return fmt.Errorf("cut tokens of message %d: %w", c.idx, err)
		}
	}
	if _, err := execute(t, "UPDATE messages SET start = ? WHERE session = ? AND start > ?", keep, r.id, keep); err != nil {
		return fmt.Errorf("cut tokens: %w", err)
	}
	return nil
}
