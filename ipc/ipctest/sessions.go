package ipctest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"edged/ipc"
)

// Sessions is an ipc.Sessions in memory, with ids s1, s2 and so on and a clock
// that advances by a second per change. It is safe for concurrent use.
type Sessions struct {
	// ExportFunc, if not nil, replaces Export.
	ExportFunc func(ctx context.Context, w io.Writer) error

	mu   sync.Mutex // guards everything that follows
	all  []*stored  // oldest first
	made int
	tick int64
}

type stored struct {
	UID      uint32
	Session  ipc.Session
	Messages []ipc.SessionMessage
}

var (
	_ ipc.Sessions     = (*Sessions)(nil)
	_ ipc.SessionFiles = (*Sessions)(nil)
)

// Append adds a message to a session, as a turn would.
func (s *Sessions) Append(id string, m ipc.SessionMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.all {
		if x.Session.ID == id {
			x.Messages = append(x.Messages, m)
			x.Session.Messages++
			x.Session.Tokens += m.Tokens
			x.Session.Updated = s.now()
		}
	}
}

func (s *Sessions) now() time.Time {
	s.tick++
	return time.Unix(1_700_000_000+s.tick, 0)
}

func (s *Sessions) find(uid uint32, id string) (*stored, error) {
	for _, x := range s.all {
		if x.UID == uid && x.Session.ID == id {
			return x, nil
		}
	}
	return nil, ipc.SessionNotFoundError(id)
}

// add keeps a session under a new id.
func (s *Sessions) add(x stored) ipc.Session {
	s.made++
	now := s.now()
	x.Session.ID = fmt.Sprintf("s%d", s.made)
	x.Session.Created, x.Session.Updated, x.Session.Used = now, now, now
	s.all = append(s.all, &x)
	return x.Session
}

// List implements ipc.Sessions.
func (s *Sessions) List(_ context.Context, uid uint32, f ipc.SessionFilter) ([]ipc.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []ipc.Session
	for _, x := range s.all {
		v := x.Session
		if x.UID == uid && (f.ID == "" || f.ID == v.ID) && (f.Title == "" || f.Title == v.Title) && (f.Tag == "" || slices.Contains(v.Tags, f.Tag)) {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b ipc.Session) int { return b.Updated.Compare(a.Updated) })
	if f.After != "" {
		i := slices.IndexFunc(out, func(v ipc.Session) bool { return v.ID == f.After })
		if i < 0 {
			return nil, ipc.SessionNotFoundError(f.After)
		}
		out = out[i+1:]
	}
	if f.Limit > 0 {
		out = out[:min(f.Limit, len(out))]
	}
	return out, nil
}

// Get implements ipc.Sessions.
func (s *Sessions) Get(_ context.Context, uid uint32, id string) (ipc.Session, []ipc.SessionMessage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, err := s.find(uid, id)
	if err != nil {
		return ipc.Session{}, nil, err
	}
	return x.Session, slices.Clone(x.Messages), nil
}

// Create implements ipc.Sessions.
func (s *Sessions) Create(_ context.Context, uid uint32, n ipc.SessionNew) (ipc.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.add(stored{UID: uid, Session: ipc.Session{Title: n.Title, Tags: n.Tags, Model: n.Model}}), nil
}

// Edit implements ipc.Sessions.
func (s *Sessions) Edit(_ context.Context, uid uint32, id string, e ipc.SessionEdit) (ipc.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, err := s.find(uid, id)
	if err != nil {
		return ipc.Session{}, err
	}
	if e.Title != nil {
		x.Session.Title = *e.Title
	}
	if e.Tags != nil {
		x.Session.Tags = *e.Tags
	}
	x.Session.Updated = s.now()
	return x.Session, nil
}

// Fork implements ipc.Sessions.
func (s *Sessions) Fork(_ context.Context, uid uint32, id string, at int, title string) (ipc.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, err := s.find(uid, id)
	switch {
	case err != nil:
		return ipc.Session{}, err
	case at > len(x.Messages):
		return ipc.Session{}, &ipc.Error{Kind: ipc.KindInvalidRequest, Param: "messages", Message: fmt.Sprintf("the session has %d messages, got %d", len(x.Messages), at)}
	case at < 0:
		at = len(x.Messages)
	}
	c := stored{UID: uid, Session: x.Session, Messages: slices.Clone(x.Messages[:at])}
	c.Session.Title, c.Session.Parent, c.Session.Messages = title, id, at
	return s.add(c), nil
}

// Delete implements ipc.Sessions.
func (s *Sessions) Delete(_ context.Context, uid uint32, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, err := s.find(uid, id)
	if err == nil {
		s.all = slices.DeleteFunc(s.all, func(v *stored) bool { return v == x })
	}
	return err
}

// Export implements ipc.SessionFiles: the stream is JSON.
func (s *Sessions) Export(ctx context.Context, uid uint32, id string, w io.Writer) error {
	s.mu.Lock()
	x, err := s.find(uid, id)
	s.mu.Unlock()
	switch {
	case err != nil:
		return err
	case s.ExportFunc != nil:
		return s.ExportFunc(ctx, w)
	}
	return json.NewEncoder(w).Encode(x)
}

// Import implements ipc.SessionFiles.
func (s *Sessions) Import(_ context.Context, uid uint32, r io.Reader) (ipc.Session, error) {
	var x stored
	if err := json.NewDecoder(r).Decode(&x); err != nil {
		return ipc.Session{}, &ipc.Error{Kind: ipc.KindInvalidRequest, Message: fmt.Sprintf("the stream is no session: %v", err)}
	}
	x.UID = uid
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.add(x), nil
}

// answered is an answer that becomes a turn of a session.
type answered struct {
	ipc.Message
	calls  []map[string]any
	tokens int
}

func (a *answered) add(d ipc.Delta) {
	a.Reasoning += d.Thought
	a.Content += d.Text
	if d.Thought != "" || d.Text != "" || d.Calls != nil {
		a.tokens++
	}
	for _, c := range d.Calls {
		if c.Name != "" {
			a.calls = append(a.calls, map[string]any{"id": c.ID, "type": "function", "function": map[string]string{"name": c.Name}})
		}
		function := a.calls[c.Index]["function"].(map[string]string)
		function["arguments"] += c.Arguments
	}
}

func (a *answered) keep(s *Sessions, req *ipc.Request) *ipc.SessionResult {
	if a.calls != nil {
		a.ToolCalls, _ = json.Marshal(a.calls) // strings always marshal
	}
	for _, m := range req.Messages {
		s.Append(req.Session, ipc.SessionMessage{Message: m, Tokens: len(m.Content)})
	}
	s.Append(req.Session, ipc.SessionMessage{Message: a.Message, Tokens: a.tokens})
	return &ipc.SessionResult{ID: req.Session, Durable: true}
}
