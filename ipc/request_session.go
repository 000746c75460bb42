package ipc

import (
	"context"
	"net/http"
	"regexp"
	"strconv"
)

// sessionHeader names the session of a chat request, for clients whose library
// cannot add fields.
const sessionHeader = "Edged-Session"

// sessionID is the form of ids; whether there is such a session, the store knows.
var sessionID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// decodeSession reads the fields of a chat request that name its session.
func decodeSession(o *object, req *Request) {
	if id, ok := o.string("session"); ok {
		if !sessionID.MatchString(id) {
			o.fail("session", "must be the id of a session, got %s", show(o.fields["session"]))
		}
		req.Session = id
	}
	req.Recompute = o.bool("recompute", false)
}

// refuseSession refuses the same fields where no session can be meant.
func refuseSession(o *object) {
	for _, field := range []string{"session", "recompute"} {
		if raw, ok := o.get(field); ok {
			o.fail(field, "is not supported for raw prompts, got %s; sessions hold messages: use /v1/chat/completions", show(raw))
		}
	}
}

// nameSession joins what the header and the body say about the session.
func nameSession(j *job, h http.Header) *Error {
	req := &j.req
	values := h.Values(sessionHeader)
	if req.Prompt != nil && len(values) > 0 {
		return invalid("session", "the header %s is not supported for raw prompts, got %s; sessions hold messages: use /v1/chat/completions", sessionHeader, show([]byte(values[0])))
	}
	for _, v := range values {
		switch {
		case !sessionID.MatchString(v):
			return invalid("session", "the header %s must be the id of a session, got %s", sessionHeader, show([]byte(strconv.Quote(v))))
		case req.Session != "" && req.Session != v:
			return invalid("session", "the request names two sessions, %s and, in the header %s, %s; give one", req.Session, sessionHeader, v)
		}
		req.Session = v
	}
	if j.choices > 1 && req.Session != "" {
		return invalid("n", "n is %d, but a session goes on with one answer; leave n out, or fork the session", j.choices)
	}
	if req.Recompute && req.Session == "" {
		return invalid("recompute", "recompute is only allowed together with a session")
	}
	return nil
}

// modelOfSession returns the model of a request that names a session but no
// model: the one that the session was made for.
func (s *Server) modelOfSession(ctx context.Context, req *Request) (string, error) {
	if s.sessions == nil {
		return "", errNoSessions()
	}
	if req.Model != "" {
		return req.Model, nil
	}
	list, err := s.sessions.List(ctx, req.UID, SessionFilter{ID: req.Session})
	if err != nil {
		return "", err
	}
	if len(list) == 0 {
		return "", SessionNotFoundError(req.Session)
	}
	return list[0].Model, nil
}

// SessionNotFoundError says that the peer has no session with an id.
func SessionNotFoundError(id string) *Error {
	return &Error{Kind: KindNotFound, Code: "session_not_found", Param: "session",
		Message: "there is no session " + show([]byte(strconv.Quote(id))) + "; GET /v1/sessions lists yours"}
}

// errNoSessions answers every request for a session of a daemon without a store.
func errNoSessions() *Error {
	return &Error{Kind: KindNotFound, Code: "sessions_disabled", Param: "session",
		Message: "this daemon keeps no sessions: its configuration has store.enabled = false"}
}
