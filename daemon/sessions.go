package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"edged/ipc"
	"edged/store"
)

// sessions is the store as the API shows it. It may be used from any goroutine.
type sessions struct {
	store *store.Store
	turns *turns // of the adapter that answers with these sessions
	quota *quota
}

var (
	_ ipc.Sessions     = sessions{}
	_ ipc.SessionFiles = sessions{}
)

// List implements ipc.Sessions.
func (s sessions) List(_ context.Context, uid uint32, f ipc.SessionFilter) ([]ipc.Session, error) {
	if f.ID != "" {
		return s.one(uid, f)
	}
	found, err := s.store.User(uid).List(store.Filter{Title: f.Title, Tag: f.Tag, After: f.After, Limit: f.Limit})
	switch {
	case f.After != "" && errors.Is(err, store.ErrNotFound):
		return nil, ipc.SessionNotFoundError(f.After)
	case err != nil:
		return nil, manageError("", err)
	}
	out := make([]ipc.Session, len(found))
	for i, x := range found {
		out[i] = ipcSession(x)
	}
	return out, nil
}

// one is the list of the session that a filter names, without reading others.
func (s sessions) one(uid uint32, f ipc.SessionFilter) ([]ipc.Session, error) {
	x, err := s.store.User(uid).Get(f.ID)
	switch {
	case f.After == f.ID && err == nil || errors.Is(err, store.ErrNotFound):
		return []ipc.Session{}, nil
	case err != nil:
		return nil, manageError(f.ID, err)
	case f.After != "":
		return nil, ipc.SessionNotFoundError(f.After) // it is not in this list
	case f.Title != "" && f.Title != x.Title || f.Tag != "" && !slices.Contains(x.Tags, f.Tag):
		return []ipc.Session{}, nil
	}
	return []ipc.Session{ipcSession(x)}, nil
}

// Get implements ipc.Sessions.
func (s sessions) Get(_ context.Context, uid uint32, id string) (ipc.Session, []ipc.SessionMessage, error) {
	u := s.store.User(uid)
	x, err := u.Get(id)
	if err != nil {
		return ipc.Session{}, nil, manageError(id, err)
	}
	stored, err := u.Messages(id)
	if err != nil {
		return ipc.Session{}, nil, manageError(id, err)
	}
	stored = stored[:min(x.Messages, len(stored))] // a turn may have ended meanwhile
	out := make([]ipc.SessionMessage, len(stored))
	for i, m := range stored {
		out[i].Tokens = len(m.Tokens)
		if out[i].Message, err = decodeMessage(m.Body); err != nil {
			return ipc.Session{}, nil, manageError(id, fmt.Errorf("message %d: %w: %w", i, store.ErrCorrupt, err))
		}
	}
	return ipcSession(x), out, nil
}

// Create implements ipc.Sessions. The first turn gives the session its key.
func (s sessions) Create(_ context.Context, uid uint32, n ipc.SessionNew) (ipc.Session, error) {
	u := s.store.User(uid)
	x, err := s.quota.create(u, uid, func() (store.Session, error) {
		return u.Create(store.New{Title: n.Title, Tags: n.Tags, Model: n.Model})
	})
	return described(x, err, "")
}

// Edit implements ipc.Sessions.
func (s sessions) Edit(_ context.Context, uid uint32, id string, e ipc.SessionEdit) (ipc.Session, error) {
	x, err := s.store.User(uid).Edit(id, store.Edit(e))
	return described(x, err, id)
}

// Fork implements ipc.Sessions.
func (s sessions) Fork(_ context.Context, uid uint32, id string, at int, title string) (ipc.Session, error) {
	u := s.store.User(uid)
	from, err := u.Get(id)
	if err != nil {
		return described(from, err, id)
	}
	if at < 0 {
		at = from.Messages
	}
	if at > from.Messages {
		return ipc.Session{}, &ipc.Error{Kind: ipc.KindInvalidRequest, Param: "messages",
			Message: fmt.Sprintf("messages must be at most the %d that the session has, got %d", from.Messages, at)}
	}
	x, err := s.quota.create(u, uid, func() (store.Session, error) {
		if err := s.quota.fits(u, "", from.Bytes); err != nil {
			return store.Session{}, err
		}
		return u.Fork(id, at, title)
	})
	return described(x, err, id)
}

// Delete implements ipc.Sessions. A turn would be lost with the session that it
// is for; forks and exports of a session are as it was before the turn.
func (s sessions) Delete(_ context.Context, uid uint32, id string) error {
	end, err := s.turns.begin(uid, id, "its deletion")
	if err != nil {
		return err
	}
	defer end()
	return manageError(id, s.store.User(uid).Delete(id))
}

// Export implements ipc.SessionFiles.
func (s sessions) Export(ctx context.Context, uid uint32, id string, w io.Writer) error {
	return manageError(id, s.store.User(uid).Export(ctx, id, w))
}

// Import implements ipc.SessionFiles. The store verifies the file; what it
// cannot know is what the daemon puts into messages and names.
func (s sessions) Import(ctx context.Context, uid uint32, r io.Reader) (ipc.Session, error) {
	u := s.store.User(uid)
	if err := s.quota.oneMore(u, uid); err != nil { // not held: an import takes long
		return ipc.Session{}, manageError("", err)
	}
	x, err := u.Import(ctx, r, 0)
	if err != nil {
		return described(x, err, "")
	}
	if full := s.quota.fits(u, x.ID, x.Bytes); full != nil {
		return ipc.Session{}, errors.Join(full, u.Delete(x.ID))
	}
	if bad := checkImported(u, x); bad != nil {
		if err := u.Delete(x.ID); err != nil {
			return ipc.Session{}, manageError(x.ID, err)
		}
		return ipc.Session{}, &ipc.Error{Kind: ipc.KindInvalidRequest, Message: fmt.Sprintf("the file is no session of this program: %v", bad)}
	}
	return ipcSession(x), nil
}

// checkImported holds an imported session against what a session of the API is.
func checkImported(u store.User, x store.Session) error {
	if err := ipc.CheckTitle(x.Title); err != nil {
		return fmt.Errorf("its title %w", err)
	}
	if err := ipc.CheckTags(x.Tags); err != nil {
		return fmt.Errorf("its tags %w", err)
	}
	if !modelName.MatchString(x.Model) {
		return fmt.Errorf("its model is called %.40q", x.Model)
	}
	messages, err := u.Messages(x.ID)
	if err != nil {
		return err
	}
	for i, m := range messages {
		body, err := decodeMessage(m.Body)
		if err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
		if body.Role != m.Role {
			return fmt.Errorf("message %d is of role %.40q and of role %s", i, m.Role, body.Role)
		}
		if k := slices.IndexFunc(m.Tokens, func(id int32) bool { return id < 0 }); k >= 0 {
			return fmt.Errorf("message %d has the token id %d", i, m.Tokens[k])
		}
	}
	return nil
}

// described finishes a call that returns a session.
func described(x store.Session, err error, id string) (ipc.Session, error) {
	if err != nil {
		return ipc.Session{}, manageError(id, err)
	}
	return ipcSession(x), nil
}

func ipcSession(x store.Session) ipc.Session {
	stored := x.Blocks * store.BlockTok
	if x.Tail { // which has what follows the last whole block
		stored = x.Tokens
	}
	return ipc.Session{
		ID: x.ID, Title: x.Title, Tags: x.Tags, Model: x.Model, Policy: x.Key.Policy, Parent: x.Parent,
		Created: x.Created, Updated: x.Updated, Used: x.Used,
		Messages: x.Messages, Tokens: x.Tokens, StoredTokens: stored, Bytes: x.Bytes, Damage: x.Damage,
	}
}
