package ipc

import (
	"net/http"
	"strings"

	"edged/ipc/api"
)

// sessionRoutes are the routes that stored sessions have. They answer in every
// state of the engine.
func (s *Server) sessionRoutes() map[string]map[string]handlerFunc {
	return map[string]map[string]handlerFunc{
		"/sessions":             {http.MethodGet: s.handleSessions, http.MethodPost: s.handleSessionNew},
		"/sessions/{id}":        {http.MethodGet: s.handleSession, http.MethodPatch: s.handleSessionEdit, http.MethodDelete: s.handleSessionDelete},
		"/sessions/{id}/fork":   {http.MethodPost: s.handleSessionFork},
		"/sessions/{id}/export": {http.MethodGet: s.handleSessionExport},
		"/sessions/import":      {http.MethodPost: s.handleSessionImport},
	}
}

// splitSession takes the path of a session's route apart.
func splitSession(path string) (id, route string, ok bool) {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(path, "/v1"), "/sessions/")
	id, action, _ := strings.Cut(strings.TrimSuffix(rest, "/"), "/")
	switch {
	case !ok || id == "":
		return "", "", false
	case action == "" && id == "import":
		return "", "/sessions/import", true
	case action == "":
		return id, "/sessions/{id}", true
	}
	return id, "/sessions/{id}/" + action, true
}

// sessionOfPath is the session that a request is about.
func (s *Server) sessionOfPath(r *http.Request) (string, error) {
	if s.sessions == nil {
		return "", errNoSessions()
	}
	id, _, _ := splitSession(r.URL.Path)
	if !sessionID.MatchString(id) {
		return "", SessionNotFoundError(id)
	}
	return id, nil
}

func (s *Server) handleSessions(w *response, r *http.Request) error {
	if s.sessions == nil {
		return errNoSessions()
	}
	f, bad := decodeSessionQuery(r.URL.RawQuery)
	if bad != nil {
		return bad
	}
	most := f.Limit
	f.Limit++ // one more, to see whether there is
	found, err := s.sessions.List(r.Context(), peerOf(r.Context()), f)
	if err != nil {
		return err
	}
	list := api.SessionList{Object: "list", Data: []api.Session{}, HasMore: len(found) > most}
	for _, x := range found[:min(most, len(found))] {
		list.Data = append(list.Data, apiSession(x))
	}
	return writeJSON(w, http.StatusOK, list)
}

func (s *Server) handleSession(w *response, r *http.Request) error {
	id, err := s.sessionOfPath(r)
	if err != nil {
		return err
	}
	x, messages, err := s.sessions.Get(r.Context(), peerOf(r.Context()), id)
	if err != nil {
		return err
	}
	out := api.SessionDetail{Session: apiSession(x), History: []api.SessionMessage{}}
	for _, m := range messages {
		out.History = append(out.History, api.SessionMessage{
			Role: m.Role, Name: m.Name, Content: m.Content, ReasoningContent: m.Reasoning, Note: m.Note,
			ToolCalls: m.ToolCalls, ToolCallID: m.ToolCallID, Tokens: m.Tokens,
		})
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *Server) handleSessionNew(w *response, r *http.Request) error {
	if s.sessions == nil {
		return errNoSessions()
	}
	n, err := decodeSessionRequest(s, w, r, decodeSessionNew)
	if err != nil {
		return err
	}
	if n.Model, err = s.resolveModel(r.Context(), n.Model); err != nil {
		return err
	}
	x, err := s.sessions.Create(r.Context(), peerOf(r.Context()), *n)
	return answerSession(w, x, err)
}

func (s *Server) handleSessionEdit(w *response, r *http.Request) error {
	id, err := s.sessionOfPath(r)
	if err != nil {
		return err
	}
	e, err := decodeSessionRequest(s, w, r, decodeSessionEdit)
	if err != nil {
		return err
	}
	x, err := s.sessions.Edit(r.Context(), peerOf(r.Context()), id, *e)
	return answerSession(w, x, err)
}

func (s *Server) handleSessionFork(w *response, r *http.Request) error {
	id, err := s.sessionOfPath(r)
	if err != nil {
		return err
	}
	j, err := decodeSessionRequest(s, w, r, decodeFork)
	if err != nil {
		return err
	}
	x, err := s.sessions.Fork(r.Context(), peerOf(r.Context()), id, j.at, j.title)
	return answerSession(w, x, err)
}

func (s *Server) handleSessionDelete(w *response, r *http.Request) error {
	id, err := s.sessionOfPath(r)
	if err != nil {
		return err
	}
	if err := s.sessions.Delete(r.Context(), peerOf(r.Context()), id); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, api.SessionDeleted{ID: id, Object: "session.deleted", Deleted: true})
}

// decodeSessionRequest reads and decodes the body of a request.
func decodeSessionRequest[T any](s *Server, w *response, r *http.Request, decode func([]byte) (*T, *Error)) (*T, error) {
	body, release, err := s.readBody(w, r)
	if err != nil {
		return nil, err
	}
	defer release()
	v, bad := decode(body)
	if bad != nil {
		return nil, bad
	}
	return v, nil
}

func answerSession(w *response, x Session, err error) error {
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, apiSession(x))
}

func apiSession(x Session) api.Session {
	tags := x.Tags
	if tags == nil {
		tags = []string{}
	}
	return api.Session{
		ID: x.ID, Object: "session", Title: x.Title, Tags: tags, Model: x.Model, Policy: x.Policy, Parent: x.Parent,
		Created: x.Created.Unix(), Updated: x.Updated.Unix(), Used: x.Used.Unix(),
		Messages: x.Messages, Tokens: x.Tokens, StoredTokens: x.StoredTokens, Bytes: x.Bytes, Damage: x.Damage,
	}
}
