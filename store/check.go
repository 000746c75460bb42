package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"edged/store/chunk"
)

// Fault is a kind of problem that Check finds.
type Fault string

// The faults, from the worst to the most harmless.
const (
	FaultDatabase Fault = "database" // SQLite finds its file damaged
	FaultText     Fault = "text"     // messages or tokens are missing or do not open
	FaultChain    Fault = "chain"    // blocks do not belong to their session's tokens
	FaultMissing  Fault = "missing"  // a chunk's file is not there
	FaultDamaged  Fault = "damaged"  // a chunk's file is not what was written
	FaultCount    Fault = "count"    // a count differs from what it counts
	FaultForeign  Fault = "foreign"  // another store's file; GC leaves it
	FaultOrphan   Fault = "orphan"   // a file that no row names; GC removes it
)

// Problem is something that Check has found.
type Problem struct {
	Fault  Fault
	Where  string // session, block or file
	Detail string
}

func (p Problem) String() string { return fmt.Sprintf("%s: %s: %s", p.Fault, p.Where, p.Detail) }

// Checked says what Check has looked at.
type Checked struct {
	Problems []Problem
	Sessions int
	Chunks   int
	Bytes    int64 // of chunk files that were read
}

// Check compares everything that is stored twice: rows with counts, chains with
// tokens, rows with files. With payload, every file is read as a whole,
// otherwise its ends only. It changes nothing; other calls may go on.
func (s *Store) Check(ctx context.Context, payload bool) (Checked, error) {
	c := check{s: s, ctx: ctx, payload: payload, extents: map[uint64][]chunk.Extent{}}
	refs := map[uint64]chunk.Ref{}
	err := s.files.pinned(refs, func(t txn) error { return loadChunks(t, refs) }, func(t txn) error {
		if err := c.database(t); err != nil {
			return err
		}
		return c.sessions(t)
	})
	if err != nil {
		return c.Checked, fmt.Errorf("check store: %w", err)
	}
	err = errors.Join(c.files(refs), s.files.unpin(refs))
	if err == nil {
		err = c.orphans()
	}
	if err != nil {
		return c.Checked, fmt.Errorf("check store: %w", err)
	}
	return c.Checked, nil
}

// check is one run of Check.
type check struct {
	Checked
	s       *Store
	ctx     context.Context
	payload bool
	extents map[uint64][]chunk.Extent // by chunk, from rows
}

func (c *check) found(f Fault, where, detail string, args ...any) {
	c.Problems = append(c.Problems, Problem{f, where, fmt.Sprintf(detail, args...)})
}

// counts are queries that give one row for each count that is wrong: what, its
// number, the count, and what it should be.
var counts = []string{
	`SELECT 'block', id, refs, n FROM (SELECT id, refs, (SELECT count(*) FROM refs WHERE block = blocks.id) AS n FROM blocks) WHERE refs <> n OR n = 0`,
	`SELECT 'chunk', id, live, n FROM (SELECT id, live, (SELECT coalesce(sum(disk), 0) FROM extents WHERE chunk = chunks.id) AS n FROM chunks) WHERE live <> n OR n = 0`,
	`SELECT 'bytes of block', id, bytes, n FROM (SELECT id, bytes, (SELECT coalesce(sum(len), 0) FROM extents WHERE block = blocks.id) AS n FROM blocks) WHERE bytes <> n`,
	`SELECT 'blocks of session', id, blocks, n FROM (SELECT id, blocks, (SELECT count(*) FROM refs WHERE session = sessions.id AND idx >= 0) AS n FROM sessions) WHERE blocks <> n`,
	`SELECT 'last block of session', id, blocks, n FROM (SELECT id, blocks, (SELECT coalesce(max(idx), -1) + 1 FROM refs WHERE session = sessions.id AND idx >= 0) AS n FROM sessions) WHERE blocks <> n`,
	`SELECT 'tail of session', id, tail, n FROM (SELECT id, tail, (SELECT count(*) FROM refs WHERE session = sessions.id AND idx = -1) AS n FROM sessions) WHERE tail <> n`,
	`SELECT 'payload of session', id, bytes, n FROM (SELECT id, bytes, (SELECT coalesce(sum(blocks.bytes), 0) FROM refs JOIN blocks ON blocks.id = refs.block WHERE session = sessions.id) AS n FROM sessions) WHERE bytes <> n`,
	`SELECT 'owner of a block of session', sessions.id, blocks.owner, sessions.owner FROM sessions JOIN refs ON refs.session = sessions.id JOIN blocks ON blocks.id = refs.block WHERE blocks.owner <> sessions.owner`,
}

// loadChunks reads all chunks' rows.
func loadChunks(t txn, refs map[uint64]chunk.Ref) error {
	return queryAll(t, func(from scanner) error {
		ref, err := scanChunk(from)
		refs[ref.Number] = ref
		return err
	}, "SELECT id, sum, bytes FROM chunks")
}

// database checks rows against each other, and gathers extents.
func (c *check) database(t txn) error {
	for _, f := range []func(context.Context, querier) error{pagesHold, foreignKeysHold} {
		if err := f(c.ctx, t.tx); errors.Is(err, ErrCorrupt) {
			c.found(FaultDatabase, databaseFile, "%v", err)
		} else if err != nil {
			return err
		}
	}
	for _, query := range counts {
		err := queryAll(t, func(from scanner) error {
			var what string
			var id, count, want int64
			err := from.Scan(&what, &id, &count, &want)
			c.found(FaultCount, fmt.Sprintf("%s %d", what, id), "is %d, should be %d", count, want)
			return err
		}, query)
		if err != nil {
			return err
		}
	}
	return queryAll(t, func(from scanner) error {
		var chunkID, sum int64
		var e chunk.Extent
		err := from.Scan(&chunkID, &e.Off, &e.Len, &e.Disk, &sum)
		e.Sum = uint64(sum)
		c.extents[uint64(chunkID)] = append(c.extents[uint64(chunkID)], e)
		return err
	}, "SELECT chunk, off, len, disk, sum FROM extents")
}

// sessions checks each session's text, tokens and chain.
func (c *check) sessions(t txn) error {
	var ids []struct {
		uid uint32
		id  string
	}
	err := queryAll(t, func(from scanner) error {
		var k struct {
			uid uint32
			id  string
		}
		err := from.Scan(&k.uid, &k.id)
		ids = append(ids, k)
		return err
	}, "SELECT owner, name_id FROM sessions ORDER BY id")
	if err != nil {
		return err
	}
	for _, k := range ids {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		c.Sessions++
		if err := c.session(t, c.s.User(k.uid), k.id); err != nil {
			return err
		}
	}
	return nil
}

func (c *check) session(t txn, u User, id string) error {
	r, err := u.find(t, id)
	if errors.Is(err, ErrCorrupt) {
		c.found(FaultText, "session "+id, "%v", err)
		return nil
	}
	if err != nil {
		return err
	}
	if r.Damage != "" {
		c.found(FaultText, "session "+id, "%s", r.Damage)
	}
	list, err := c.s.messages(t, r, r.Messages)
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return err
	}
	if err != nil || len(list) != r.Messages {
		c.found(FaultText, "session "+id, "has %d of %d messages: %v", len(list), r.Messages, err)
		return nil
	}
	tokens, err := c.s.tokens(t, r, 0)
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return err
	}
	if err != nil {
		c.found(FaultText, "session "+id, "%v", err)
		return nil
	}
	return c.chain(t, r, tokens)
}

// chain computes a session's links again.
func (c *check) chain(t txn, r row, tokens []int32) error {
	links := seed(c.s.seal.chainSecret(), r.Key.Fingerprint).chain(tokens)
	err := queryAll(t, func(from scanner) error {
		var idx int
		var chain []byte
		var policy, calibration string
		if err := from.Scan(&idx, &chain, &policy, &calibration); err != nil {
			return err
		}
		if idx < tailIdx { // perhaps of tokens that no message has yet
			return nil
		}
		if idx >= len(links) || string(chain) != string(links[idx][:]) || policy != r.Key.Policy || calibration != r.Key.Calibration {
			c.found(FaultChain, "session "+r.ID, "block %d is of other tokens or another key", idx)
		}
		return nil
	}, "SELECT idx, chain, policy, calibration FROM refs JOIN blocks ON blocks.id = refs.block WHERE session = ? AND idx <> -1 ORDER BY idx", r.id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}

// files checks each chunk's file against its row and its extents' rows.
func (c *check) files(refs map[uint64]chunk.Ref) error {
	for _, ref := range refs {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		c.Chunks++
		table, err := c.table(ref)
		switch {
		case err == nil:
			c.match(ref, table)
		case !damaged(err):
			return err
		case errors.Is(err, chunk.ErrCorrupt):
			c.found(FaultDamaged, ref.Name(), "%v", err)
		default:
			c.found(FaultMissing, ref.Name(), "%v", err)
		}
	}
	return nil
}

// table reads a file's table, and with payload everything before it.
func (c *check) table(ref chunk.Ref) ([]chunk.Extent, error) {
	r, err := chunk.Open(c.s.fs, c.s.id, ref, nil)
	if err != nil {
		return nil, err
	}
	read := r.Table
	if c.payload {
		read = r.Verify
		c.Bytes += ref.Bytes
	}
	table, err := read()
	return table, errors.Join(err, r.Close())
}

// match finds every row's extent in the file's table.
func (c *check) match(ref chunk.Ref, table []chunk.Extent) {
	at := make(map[int64]chunk.Extent, len(table))
	for _, e := range table {
		at[e.Off] = e
	}
	for _, e := range c.extents[ref.Number] {
		if at[e.Off] != e {
			c.found(FaultDamaged, ref.Name(), "extent at %d is not the one that its row describes", e.Off)
		}
	}
}

func (c *check) orphans() error {
	list, err := c.s.orphans()
	for _, o := range list {
		switch {
		case o.foreign():
			c.found(FaultForeign, o.name, "%d bytes, of store %x and left alone, this is %x", o.bytes, o.of, c.s.id)
		case o.stray:
			c.found(FaultOrphan, o.name, "%d bytes, not the store's and left alone", o.bytes)
		default:
			c.found(FaultOrphan, o.name, "%d bytes, removed by the next GC", o.bytes)
		}
	}
	return err
}
