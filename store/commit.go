package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"edged/store/chunk"
)

// Turn is what a session grows by.
type Turn struct {
	// After is the messages that the session has; with another number the turn
	// is refused with [ErrConflict].
	After int
	// Drop is the tokens at the session's end that do not hold any more, with all
	// blocks that they are in: a template may write an old answer in another way
	// than the model did. Texts stay.
	Drop     int
	Messages []Message // appended
	// Blocks follow those that the session keeps, each for the next BlockTok tokens.
	Blocks []Block
	// Tail replaces the one before: what is needed beside whole blocks to go on.
	// nil: the session has none, and goes on from its last whole block.
	Tail Payload
}

// size is the payload's bytes.
func (t Turn) size() int64 {
	n := t.Tail.size()
	for _, b := range t.Blocks {
		n += b.Parts.size()
	}
	return n
}

func (t Turn) check() error {
	for i, m := range t.Messages {
		if err := m.check(); err != nil {
			return fmt.Errorf("message %d: %w", t.After+i, err)
		}
	}
	if len(t.Blocks) > maxTurnBlock {
		return fmt.Errorf("%w: %d blocks in a turn, at most %d are allowed", ErrInvalid, len(t.Blocks), maxTurnBlock)
	}
	for i, b := range t.Blocks {
		if err := b.check(); err != nil {
			return fmt.Errorf("block %d of the turn: %w", i, err)
		}
	}
	if t.Tail == nil {
		return nil
	}
	if err := t.Tail.check(); err != nil {
		return fmt.Errorf("tail: %w", err)
	}
	return nil
}

// Commit appends a turn. When it returns nil, the turn survives a power loss;
// otherwise, and after a crash at any point, the session is as it was.
//
// Payload is written while other calls go on; the database is locked only for
// the rows at the end.
func (u User) Commit(ctx context.Context, id string, turn Turn) (Session, error) {
	r, err := u.commit(ctx, id, turn)
	if err != nil {
		return Session{}, fmt.Errorf("commit turn to session %s: %w", id, err)
	}
	return r.Session, nil
}

func (u User) commit(ctx context.Context, id string, turn Turn) (row, error) {
	return (&commit{u: u, s: u.s, turn: turn}).start(ctx, id)
}

// start commits to a session that exists.
func (c *commit) start(ctx context.Context, id string) (row, error) {
	if err := c.turn.check(); err != nil {
		return row{}, err
	}
	if err := c.begin(id); err != nil {
		return row{}, err
	}
	return c.run(ctx)
}

// commit is a turn on its way.
type commit struct {
	u    User
	s    *Store
	turn Turn
	// own says that the session is new, and that its blocks are taken from no other
	// session and given to none.
	own    bool
	verify func() error // called when all payload has been read; or nil
	// staging says that blocks are not complete: they are the session's from first
	// on, and none of its own yet.
	staging bool
	ahead   []int32 // tokens of staged blocks that no message has
	first   int     // number of the turn's first block
	stale   bool    // what was staged is of other tokens
	held    int     // blocks of the session that stay

	before row              // the session when the turn began
	blocks []commitBlock    // of the turn
	tail   []commitPart     // written
	chunks []chunk.Finished // that hold what was written
	tails  []chunk.Finished
	packs  []*packer

	reserved int64 // bytes of the disk budget
}

type commitBlock struct {
	Block
	chain  link
	shared bool         // may be another session's, and become one's
	found  bool         // another session's was there when looked for
	staged staged       // what the session has of it already
	todo   Payload      // what it has not
	done   bool         // todo was written
	parts  []commitPart // written
}

// overlap is the bytes of the block's parts that were staged before.
func (b *commitBlock) overlap() int64 { return b.Parts.size() - b.todo.size() }

type commitPart struct {
	id      int
	extents []placed
}

// errVanished says that a shared block went away between being found and
// being referred to.
var errVanished = errors.New("shared block has vanished")

// begin reads what the turn starts from.
func (c *commit) begin(id string) error {
	var links []link
	err := c.s.db.view(func(t txn) error {
		var err error
		if c.before, err = c.u.find(t, id); err != nil {
			return err
		}
		if c.before.Messages != c.turn.After {
			return fmt.Errorf("%w: it has %d messages, the turn follows %d", ErrConflict, c.before.Messages, c.turn.After)
		}
		if c.before.Key.none() && len(c.turn.Blocks)+len(c.turn.Tail) > 0 {
			return fmt.Errorf("%w: the session has no key yet under which payload could be stored", ErrInvalid)
		}
		if c.turn.Drop < 0 || c.turn.Drop > c.before.Tokens {
			return fmt.Errorf("%w: %d tokens are to be dropped, the session has %d", ErrInvalid, c.turn.Drop, c.before.Tokens)
		}
		c.held = min(c.before.Blocks, (c.before.Tokens-c.turn.Drop)/BlockTok)
		if !c.staging {
			c.first = c.held
		}
		if most := (c.before.Tokens + len(c.ahead)) / BlockTok; c.first < c.held || c.first > most {
			return fmt.Errorf("%w: blocks from %d on are staged, the session has %d and tokens for %d", ErrInvalid, c.first, c.held, most)
		}
		if links, err = c.links(t); err != nil {
			return err
		}
		c.stale, err = otherTokens(t, c.before.id, c.held, links)
		return err
	})
	if err != nil {
		return err
	}
	return c.place(links)
}

// beginNew starts from a session that does not exist yet.
func (c *commit) beginNew() error {
	var tokens []int32
	for _, m := range c.turn.Messages {
		tokens = append(tokens, m.Tokens...)
	}
	return c.place(seed(c.s.seal.chainSecret(), c.before.Key.Fingerprint).chain(tokens))
}

// place gives each block of the turn its link.
func (c *commit) place(links []link) error {
	links = links[min(len(links), c.first-c.held):]
	if len(c.turn.Blocks) > len(links) {
		return fmt.Errorf("%w: %d new blocks, but from block %d on there are tokens for %d", ErrInvalid, len(c.turn.Blocks), c.first, len(links))
	}
	// What a file brought may be in tokens that stay, whatever blocks do.
	pure := (c.before.pure || c.turn.Drop > 0 && c.turn.Drop == c.before.Tokens) && !c.staging
	for i, b := range c.turn.Blocks {
		pure = pure && b.Provenance == ExactPrefill
		c.blocks = append(c.blocks, commitBlock{Block: b, chain: links[i], shared: pure, todo: b.Parts})
	}
	return nil
}

// links are the chain's links of the blocks that the turn can have.
func (c *commit) links(t txn) ([]link, error) {
	tokens, err := c.s.tokens(t, c.before, c.held*BlockTok)
	if err != nil {
		return nil, err
	}
	tokens = tokens[:len(tokens)-c.turn.Drop]
	for _, m := range c.turn.Messages {
		tokens = append(tokens, m.Tokens...)
	}
	tokens = append(tokens, c.ahead...)
	last := seed(c.s.seal.chainSecret(), c.before.Key.Fingerprint)
	if c.held > 0 {
		var b []byte
		err := queryRow(t, []any{&b}, "SELECT chain FROM refs JOIN blocks ON blocks.id = refs.block WHERE session = ? AND idx = ?", c.before.id, c.held-1)
		if err != nil || copy(last[:], b) != len(last) {
			return nil, fmt.Errorf("%w: block %d: %w", ErrCorrupt, c.held-1, err)
		}
	}
	return last.chain(tokens), nil
}

// run writes payload, then rows. It starts over when a shared block was
// deleted meanwhile, and then writes only what is missing.
func (c *commit) run(ctx context.Context) (done row, err error) {
	outcome := abandoned
	c.s.grow(c.before)
	defer func() {
		for _, p := range c.packs {
			err = errors.Join(err, p.settle(outcome))
		}
		c.s.giveBack(c.reserved, c.before)
	}()
	for {
		if err := c.lookUp(); err != nil {
			return row{}, err
		}
		if err := c.write(ctx); err != nil {
			return row{}, err
		}
		if c.verify != nil {
			if err := c.verify(); err != nil {
				return row{}, err
			}
		}
		err := c.s.change(func(t txn) error {
			var err error
			done, err = c.rows(t)
			return err
		})
		if errors.Is(err, errVanished) {
			continue
		}
		if errors.Is(err, errUnsure) {
			outcome = unsure
		}
		if err != nil {
			return row{}, err
		}
		outcome = stored
		return done, nil
	}
}

// lookUp finds what need not be written: blocks of other sessions, and parts
// that were staged.
func (c *commit) lookUp() error {
	return c.s.db.view(func(t txn) error {
		for i := range c.blocks {
			if err := c.lookUpBlock(t, c.first+i, &c.blocks[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *commit) lookUpBlock(t txn, number int, b *commitBlock) (err error) {
	if b.done || c.own {
		return nil
	}
	if !c.stale {
		if b.staged, err = stagedBlock(t, c.before.id, number); err != nil {
			return err
		}
	}
	if b.todo, err = b.staged.missing(b.Parts); err != nil {
		return fmt.Errorf("block %d: %w", number, err)
	}
	if !b.shared {
		return nil
	}
	_, err = c.sharedBlock(t, b)
	if b.found = err == nil; errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}

// sharedBlock finds a block that another session of the user has stored, or
// fails with sql.ErrNoRows.
func (c *commit) sharedBlock(t txn, b *commitBlock) (id int64, err error) {
	var bytes int64
	err = queryRow(t, []any{&id, &bytes}, "SELECT id, bytes FROM blocks WHERE shared = 1 AND owner = ? AND chain = ? AND policy = ? AND calibration = ?",
		c.u.uid, b.chain[:], c.before.Key.Policy, c.before.Key.Calibration)
	if err == nil && bytes != b.Parts.size() {
		return 0, fmt.Errorf("%w: block of %d bytes, under the same key one of %d is stored", ErrInvalid, b.Parts.size(), bytes)
	}
	return id, err
}

// write writes the payload that nobody has. Blocks and tails go to different
// chunks: tails die with the next turn, and their files with them.
func (c *commit) write(ctx context.Context) error {
	var need int64
	for _, b := range c.blocks {
		if !b.found && !b.done {
			need += b.todo.size()
		}
	}
	if c.tail == nil {
		need += c.turn.Tail.size()
	}
	if err := c.s.reserve(need, c.before); err != nil {
		return err
	}
	c.reserved += need
	p := c.packer(ctx)
	for i := range c.blocks {
		b := &c.blocks[i]
		if b.found || b.done {
			continue
		}
		parts, err := writeParts(p, b.todo)
		if err != nil {
			return fmt.Errorf("block %d: %w", c.first+i, err)
		}
		b.parts, b.done = parts, true
	}
	refs, err := p.finish()
	if err != nil {
		return err
	}
	c.chunks = append(c.chunks, refs...)
	if c.tail != nil || c.turn.Tail == nil {
		return nil
	}
	p = c.packer(ctx)
	if c.tail, err = writeParts(p, c.turn.Tail); err != nil {
		return fmt.Errorf("tail: %w", err)
	}
	c.tails, err = p.finish()
	return err
}

func (c *commit) packer(ctx context.Context) *packer {
	p := c.s.newPacker(ctx)
	c.packs = append(c.packs, p)
	return p
}

func writeParts(p *packer, payload Payload) ([]commitPart, error) {
	var parts []commitPart
	for _, part := range payload {
		extents, err := p.part(part)
		if err != nil {
			return nil, err
		}
		parts = append(parts, commitPart{part.ID, extents})
	}
	return parts, nil
}
