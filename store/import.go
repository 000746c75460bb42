package store

import (
	"context"
	"errors"
	"fmt"
	"io"

	"edged/store/portable"
)

// Limits of one imported session, beside those of every turn. What a file
// declares is held against them before anything is taken or written.
const (
	maxImportText  = 256 << 20 // bytes of all messages and tokens, which are kept in memory
	maxImportParts = 1 << 20   // of all blocks: their descriptions are kept in memory
	maxImportCount = 1 << 20   // messages
)

// Import makes a session of what Export wrote. It is verified to the last byte
// before the session exists; a file that is not whole leaves nothing behind.
// maxBytes bounds the payload; 0: only the disk budget does.
//
// Checksums do not tell who wrote a file. So imported blocks are the session's
// own: no other session ever takes them, except a fork.
func (u User) Import(ctx context.Context, from io.Reader, maxBytes int64) (Session, error) {
	r, err := u.readImport(ctx, from, maxBytes)
	switch {
	case errors.Is(err, portable.ErrNewer):
		err = fmt.Errorf("%w: %w", ErrNewer, err)
	case errors.Is(err, portable.ErrFormat):
		err = fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if err != nil {
		return Session{}, fmt.Errorf("import session: %w", err)
	}
	return r.Session, nil
}

func (u User) readImport(ctx context.Context, from io.Reader, maxBytes int64) (row, error) {
	in, err := portable.NewReader(from)
	if err != nil {
		return row{}, err
	}
	var head portable.Session
	if err := in.Describe(portable.KindSession, &head); err != nil {
		return row{}, err
	}
	r, err := u.newRow(New{Title: head.Title, Tags: head.Tags, Model: head.Model, Key: Key{head.Fingerprint, head.Policy, head.Calibration}})
	if err != nil {
		return row{}, err
	}
	if r.Key.none() && (head.Blocks > 0 || head.Tail) {
		return row{}, fmt.Errorf("%w: payload without a key", ErrInvalid)
	}
	r.pure = head.Blocks == 0 && !head.Tail // nothing that follows a stranger's payload may be shared either
	turn, err := readTurn(ctx, in, head)
	if err == nil {
		err = turn.check()
	}
	if err != nil {
		return row{}, err
	}
	if n := turn.size(); maxBytes > 0 && n > maxBytes {
		return row{}, fmt.Errorf("%w: payload of %d bytes, at most %d are allowed", ErrInvalid, n, maxBytes)
	}
	c := &commit{u: u, s: u.s, turn: turn, own: true, before: r, verify: in.End}
	if err := c.beginNew(); err != nil {
		return row{}, err
	}
	return c.run(ctx)
}

// readTurn reads all but the payload, which is read when it is written.
func readTurn(ctx context.Context, in *portable.Reader, head portable.Session) (Turn, error) {
	if head.Messages < 0 || head.Messages > maxImportCount || head.Blocks < 0 || head.Blocks > maxTurnBlock || head.Runs < 0 || head.Runs > head.Blocks {
		return Turn{}, fmt.Errorf("%w: %d messages, %d blocks in %d runs; at most %d messages and %d blocks are allowed",
			ErrInvalid, head.Messages, head.Blocks, head.Runs, maxImportCount, maxTurnBlock)
	}
	var t Turn
	var err error
	if t.Messages, err = readMessages(ctx, in, head.Messages); err != nil {
		return Turn{}, err
	}
	parts := 0
	for range head.Runs {
		var run portable.Blocks
		if err := in.Describe(portable.KindBlocks, &run); err != nil {
			return Turn{}, err
		}
		if run.Count < 1 || run.Count > head.Blocks-len(t.Blocks) || len(run.Parts) > maxParts {
			return Turn{}, fmt.Errorf("%w: %d blocks of %d parts, %d blocks are missing", ErrInvalid, run.Count, len(run.Parts), head.Blocks-len(t.Blocks))
		}
		if parts += run.Count * len(run.Parts); parts > maxImportParts {
			return Turn{}, fmt.Errorf("%w: more than %d parts", ErrInvalid, maxImportParts)
		}
		for range run.Count {
			t.Blocks = append(t.Blocks, Block{Provenance: Provenance(run.Provenance), Parts: streamed(in, run.Parts)})
		}
	}
	if len(t.Blocks) != head.Blocks {
		return Turn{}, fmt.Errorf("%w: %d of %d blocks are described", ErrInvalid, len(t.Blocks), head.Blocks)
	}
	if head.Tail {
		var tail portable.Tail
		if err := in.Describe(portable.KindTail, &tail); err != nil {
			return Turn{}, err
		}
		t.Tail = streamed(in, tail.Parts)
	}
	return t, nil
}

// streamed is a payload that is read from the stream, and so only in order.
func streamed(in *portable.Reader, parts []portable.Part) Payload {
	p := make(Payload, len(parts))
	for i, part := range parts {
		p[i] = Part{ID: part.ID, Size: part.Size, Data: in.Data(part.Size)}
	}
	return p
}

func readMessages(ctx context.Context, in *portable.Reader, n int) ([]Message, error) {
	var list []Message
	left := int64(maxImportText)
	for i := range n {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var head portable.Message
		if err := in.Describe(portable.KindMessage, &head); err != nil {
			return nil, err
		}
		if head.Body < 0 || head.Body > left || head.Tokens < 0 || head.Tokens > (left-head.Body)/4 {
			return nil, fmt.Errorf("%w: message %d of %d bytes and %d tokens, all together may have %d bytes", ErrInvalid, i, head.Body, head.Tokens, maxImportText)
		}
		left -= head.Body + 4*head.Tokens
		body, err := gather(in.Data(head.Body))
		if err != nil {
			return nil, err
		}
		ids, err := gather(in.Data(4 * head.Tokens))
		if err != nil {
			return nil, err
		}
		list = append(list, Message{Role: head.Role, Body: body, Tokens: decodeTokens(ids)})
	}
	return list, nil
}

// gather takes memory as bytes arrive, not as they were announced.
func gather(data Data) ([]byte, error) {
	var b []byte
	for piece, err := range data {
		if err != nil {
			return nil, err
		}
		b = append(b, piece...)
	}
	return b, nil
}
