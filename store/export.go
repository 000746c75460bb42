package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"edged/store/portable"
)

// Export writes a session as one stream that Import reads: text, tokens and
// payload, in clear even when the store is sealed. After an error, what was
// written is no export and Import refuses it.
func (u User) Export(ctx context.Context, id string, w io.Writer) error {
	snap := newSnapshot(u.s)
	var messages []Message
	err := u.s.files.pinned(snap.refs, func(t txn) error {
		r, err := u.find(t, id)
		if err != nil {
			return err
		}
		snap.Session = r.Session
		if messages, err = u.s.messages(t, r, r.Messages); err != nil {
			return err
		}
		return snap.load(t, r, false)
	}, nil)
	if err == nil {
		err = snap.export(ctx, portable.NewWriter(w), messages)
	}
	if err = errors.Join(err, snap.Close()); err != nil {
		return fmt.Errorf("export session %s: %w", id, err)
	}
	return nil
}

func (snap *Snapshot) export(ctx context.Context, w *portable.Writer, messages []Message) error {
	runs := snap.blockRuns()
	s := snap.Session
	err := w.Describe(portable.KindSession, portable.Session{
		Title: s.Title, Tags: s.Tags, Model: s.Model, Fingerprint: s.Key.Fingerprint, Policy: s.Key.Policy, Calibration: s.Key.Calibration,
		Messages: len(messages), Blocks: len(snap.Blocks), Runs: len(runs), Tail: snap.Tail != nil,
	})
	for _, m := range messages {
		if err != nil {
			return err
		}
		err = errors.Join(
			w.Describe(portable.KindMessage, portable.Message{Role: m.Role, Body: int64(len(m.Body)), Tokens: int64(len(m.Tokens))}),
			w.Data(m.Body), w.Data(encodeTokens(m.Tokens)))
	}
	for _, r := range runs {
		err = errors.Join(err, w.Describe(portable.KindBlocks, r))
	}
	if snap.Tail != nil {
		err = errors.Join(err, w.Describe(portable.KindTail, portable.Tail{Parts: portableParts(snap.Tail)}))
	}
	if err != nil {
		return err
	}
	for p, err := range snap.Read(ctx, 0) {
		if err != nil {
			return err
		}
		if err := w.Data(p.Data); err != nil {
			return err
		}
	}
	return w.End()
}

// blockRuns describes the blocks: as a rule, all have the same sizes.
func (snap *Snapshot) blockRuns() []portable.Blocks {
	var runs []portable.Blocks
	for _, b := range snap.Blocks {
		next := portable.Blocks{Count: 1, Provenance: int(b.Provenance), Parts: portableParts(b.Parts)}
		if n := len(runs); n > 0 && runs[n-1].Provenance == next.Provenance && slices.Equal(runs[n-1].Parts, next.Parts) {
			runs[n-1].Count++
			continue
		}
		runs = append(runs, next)
	}
	return runs
}

func portableParts(parts []StoredPart) []portable.Part {
	out := make([]portable.Part, len(parts))
	for i, p := range parts {
		out[i] = portable.Part(p)
	}
	return out
}
