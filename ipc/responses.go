package ipc

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"edged/ipc/api"
)

// responsePrefix begins the ids of responses; what follows, of a stored one, is
// the id of the session that it is.
const responsePrefix = "resp_"

// handleResponse answers POST /v1/responses.
func (s *Server) handleResponse(w *response, r *http.Request) error {
	var own *job
	err := s.handleGenerate(w, r, endpoint{
		decode:   decodeResponse,
		idPrefix: responsePrefix,
		prepare: func(ctx context.Context, j *job) error {
			own = j
			return s.continueResponse(ctx, j)
		},
		newFormat: func(_ context.Context, j *job, h head) (format, error) {
			return newResponseFormat(h, j.response), nil
		},
	})
	if own != nil && own.response.created != "" && !own.answered {
		// Nobody has got an answer that could be gone on from.
		if err := s.sessions.Delete(context.WithoutCancel(r.Context()), own.req.UID, own.response.created); err != nil {
			s.log.Warn("ipc: session of a failed response was not deleted", "request", w.id, "session", own.response.created, "err", err)
		}
	}
	return err
}

// continueResponse completes a job with the response that it goes on from, and
// makes the session that it is to be stored in. A stored response is a session,
// as its users see in their list: one that goes on from another is a fork of it.
func (s *Server) continueResponse(ctx context.Context, j *job) error {
	r := j.response
	if j.req.Session != "" {
		return invalid("session", "the header %s is not supported here; use store and previous_response_id", sessionHeader)
	}
	if s.sessions == nil && (r.store || r.previous != "") {
		return errNoSessions()
	}
	messages := j.req.Messages
	if r.echo.Instructions != nil {
		messages = append([]Message{{Role: "system", Content: *r.echo.Instructions}}, messages...)
	}
	fork := false
	if r.previous != "" {
		before, err := s.storedResponse(ctx, j.req.UID, r.previous, "previous_response_id")
		if err != nil {
			return err
		}
		if j.req.Model == "" {
			j.req.Model = before.session.Model
		}
		if fork = r.store && sameText(before.echo.Instructions, r.echo.Instructions); !fork {
			messages = before.before(messages, r.echo.Instructions)
		} else {
			messages = j.req.Messages
		}
	}
	j.req.Messages = messages
	if !r.store {
		return nil
	}
	return s.keepResponse(ctx, j, fork)
}

// keepResponse makes the session of a response.
func (s *Server) keepResponse(ctx context.Context, j *job, fork bool) (err error) {
	r := j.response
	title := "Response of " + s.now().UTC().Format("2006-01-02 15:04:05")
	var made Session
	if fork {
		made, err = s.sessions.Fork(ctx, j.req.UID, strings.TrimPrefix(r.previous, responsePrefix), -1, title)
	} else {
		if j.req.Model, err = s.resolveModel(ctx, j.req.Model); err != nil {
			return err
		}
		made, err = s.sessions.Create(ctx, j.req.UID, SessionNew{Title: title, Tags: []string{"response"}, Model: j.req.Model})
	}
	if err != nil {
		return err
	}
	r.created = made.ID
	j.req.ID, j.req.Session, j.req.Recompute = responsePrefix+made.ID, made.ID, true
	j.req.Note = mustMarshal(responseNote{Response: &r.echo})
	return nil
}

// responseNote is what is kept with the answer of a stored response.
type responseNote struct {
	Response *api.ResponseEcho `json:"response"`
}

// storedResponse is a response that was read back.
type storedResponse struct {
	session  Session
	messages []SessionMessage // the last is the answer
	echo     api.ResponseEcho
}

// storedResponse finds a response. param is the field that names it.
func (s *Server) storedResponse(ctx context.Context, uid uint32, id, param string) (*storedResponse, error) {
	missing := &Error{Kind: KindNotFound, Code: "response_not_found", Param: param,
		Message: fmt.Sprintf(`there is no response %s; only those that were made with "store": true are kept`, show([]byte(id)))}
	sid, ok := strings.CutPrefix(id, responsePrefix)
	if !ok || !sessionID.MatchString(sid) {
		return nil, missing
	}
	if s.sessions == nil {
		return nil, errNoSessions()
	}
	session, messages, err := s.sessions.Get(ctx, uid, sid)
	if err != nil {
		if failureIs(err, "session_not_found") {
			return nil, missing
		}
		return nil, err
	}
	if len(messages) == 0 {
		return nil, missing
	}
	// The note may come from a file that was imported.
	var note responseNote
	last := messages[len(messages)-1]
	if last.Role != "assistant" || json.Unmarshal(last.Note, &note) != nil || note.Response == nil {
		return nil, missing
	}
	return &storedResponse{session, messages, *note.Response}, nil
}

// before puts the conversation so far before new messages, whose instructions
// replace those that it began with.
func (r *storedResponse) before(messages []Message, instructions *string) []Message {
	old := r.messages
	if r.echo.Instructions != nil {
		old = old[1:]
	}
	var all []Message
	if instructions != nil {
		all, messages = append(all, messages[0]), messages[1:]
	}
	for _, m := range old {
		m.Note = nil
		all = append(all, m.Message)
	}
	return append(all, messages...)
}

func sameText(a, b *string) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

// responseID is the response that a path names.
func responseID(r *http.Request) string {
	return strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/v1"), "/responses/")
}

// handleStoredResponse answers GET /v1/responses/{id}.
func (s *Server) handleStoredResponse(w *response, r *http.Request) error {
	if stream := r.URL.Query().Get("stream"); stream != "" && stream != "false" {
		return invalid("stream", "stream is not supported here, got %s; the response is complete", show([]byte(stream)))
	}
	stored, err := s.storedResponse(r.Context(), peerOf(r.Context()), responseID(r), "response_id")
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, stored.render(responseID(r)))
}

// handleResponseDelete answers DELETE /v1/responses/{id}. Responses that go on
// from it stay.
func (s *Server) handleResponseDelete(w *response, r *http.Request) error {
	id, uid := responseID(r), peerOf(r.Context())
	stored, err := s.storedResponse(r.Context(), uid, id, "response_id")
	if err != nil {
		return err
	}
	if err := s.sessions.Delete(r.Context(), uid, stored.session.ID); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, api.ResponseDeleted{ID: id, Object: "response", Deleted: true})
}
