package ipc

import (
	"fmt"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// handlerFunc answers a request. A failure that it returns is written for it;
// after it has begun to answer, it returns nil.
type handlerFunc func(w *response, r *http.Request) error

// routes maps a path, without the optional prefix /v1, to its methods. Paths
// that end in a slash match everything below them; {id} stands for one segment.
func (s *Server) routes() map[string]map[string]handlerFunc {
	all := map[string]map[string]handlerFunc{
		"/chat/completions":      {http.MethodPost: s.handleChat},
		"/completions":           {http.MethodPost: s.handleCompletion},
		"/embeddings":            {http.MethodPost: s.handleEmbeddings},
		"/responses":             {http.MethodPost: s.handleResponse},
		"/responses/":            {http.MethodGet: s.handleStoredResponse, http.MethodDelete: s.handleResponseDelete},
		"/messages":              {http.MethodPost: s.handleMessages},
		"/messages/count_tokens": {http.MethodPost: s.handleCountTokens},
		"/models":                {http.MethodGet: s.handleModels},
		"/models/":               {http.MethodGet: s.handleModel},
		"/tokenize":              {http.MethodPost: s.handleTokenize},
		"/detokenize":            {http.MethodPost: s.handleDetokenize},
		"/healthz":               {http.MethodGet: s.handleLive},
		"/readyz":                {http.MethodGet: s.handleReady},
	}
	maps.Copy(all, s.sessionRoutes())
	maps.Copy(all, s.operatorRoutes())
	return all
}

// handler is the chain that every request passes. http.ServeMux is not used: it
// answers unknown paths in plain text and redirects unclean ones.
func (s *Server) handler() http.Handler {
	routes := s.routes()
	known := slices.Sorted(maps.Keys(routes))
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w := &response{ResponseWriter: rw, ctl: http.NewResponseController(rw), id: "req-" + s.newID()}
		defer s.recover(w, r)
		w.Header().Set("X-Request-Id", w.id)
		w.ctl.SetReadDeadline(time.Now().Add(bodyTimeout))
		w.ctl.SetWriteDeadline(time.Now().Add(writeTimeout))
		if err := s.dispatch(routes, known, w, r); err != nil {
			s.fail(w, err)
		}
		w.linger(r)
	})
}

func (s *Server) dispatch(routes map[string]map[string]handlerFunc, known []string, w *response, r *http.Request) error {
	if t := peerIn(r.Context()).tcp; t != nil {
		if preflight, err := t.authorise(w, r); err != nil || preflight {
			if preflight {
				w.WriteHeader(http.StatusNoContent)
			}
			return err
		}
	} else if err := refuseBrowser(r); err != nil {
		return err
	}
	r, err := withTimeout(r)
	if err != nil {
		return err
	}
	methods, ok := routes[routeOf(r.URL.Path)]
	if !ok {
		return &failure{status: http.StatusNotFound, kind: typeNotFound, code: "unknown_route",
			message: fmt.Sprintf("no such route: %s %s; there are %s (some also under /v1)", r.Method, show([]byte(r.URL.Path)), strings.Join(known, ", "))}
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet // net/http drops the body
	}
	if h, ok := methods[method]; ok {
		return h(w, r)
	}
	w.Header().Set("Allow", allowed(methods))
	if method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return &failure{status: http.StatusMethodNotAllowed, kind: typeInvalid, code: "method_not_allowed",
		message: fmt.Sprintf("%s is not possible on %s; allowed: %s", show([]byte(r.Method)), show([]byte(r.URL.Path)), allowed(methods))}
}

// refuseBrowser refuses pages: only a page in a browser sends these headers, and
// none may get at the Unix socket.
func refuseBrowser(r *http.Request) error {
	for _, h := range []string{"Origin", "Referer"} {
		if v := r.Header.Get(h); v != "" {
			return &failure{status: http.StatusForbidden, kind: typePermission, code: "browser_refused",
				message: fmt.Sprintf("requests with the header %s are refused, got %s", h, show([]byte(v)))}
		}
	}
	return nil
}

// routeOf returns the key of a path in the table of routes.
func routeOf(path string) string {
	if _, route, ok := splitSession(path); ok {
		return route
	}
	path = strings.TrimPrefix(path, "/v1")
	if id, ok := strings.CutPrefix(path, "/models/"); ok && id != "" {
		return "/models/"
	}
	if id, ok := strings.CutPrefix(path, "/responses/"); ok && id != "" && !strings.Contains(id, "/") {
		return "/responses/"
	}
	return strings.TrimSuffix(path, "/")
}

func allowed(methods map[string]handlerFunc) string {
	names := slices.Sorted(maps.Keys(methods))
	if _, ok := methods[http.MethodGet]; ok {
		names = append(names, http.MethodHead)
	}
	return strings.Join(append(names, http.MethodOptions), ", ")
}

// recover turns a panic in a handler into an answer, if it is not too late for one.
func (s *Server) recover(w *response, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler { // a write to a broken connection inside net/http
		panic(p)
	}
	s.log.Error("ipc: panic in handler", "request", w.id, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
	if w.begun {
		panic(http.ErrAbortHandler) // closes the connection: the client must not take half an answer for a whole one
	}
	s.fail(w, fmt.Errorf("panic: %v", p))
}
