package webui

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"edged/ipc/api"
)

// maxBody bounds the bodies that this server reads itself, in bytes.
const maxBody = 4 << 10

// policy lets the page load its own files and nothing else, and keeps it out of
// frames.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func (s *Server) handler(proxy http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", servePage)
	mux.HandleFunc("GET /page/{file}", servePage)
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("POST /ticket", s.locked(s.issueTicket))
	mux.HandleFunc("GET /download/{ticket}", func(w http.ResponseWriter, r *http.Request) { s.download(proxy, w, r) })
	mux.HandleFunc("/", s.locked(func(w http.ResponseWriter, r *http.Request) {
		if !known(r.Method, r.URL.Path) {
			refuse(w, http.StatusNotFound, "the page has no such route: "+r.Method+" "+r.URL.Path)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	return s.guard(mux)
}

// guard refuses what does not come to this port by its own name, and what another
// page sends.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if "http://"+r.Host != s.origin {
			refuse(w, http.StatusMisdirectedRequest, "this port answers to "+s.origin+" only")
			return
		}
		if origin := r.Header.Get("Origin"); origin != "" && origin != s.origin {
			refuse(w, http.StatusForbidden, "pages of "+origin+" may not use this port")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// locked asks for the key.
func (s *Server) locked(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || !s.keys.opens(key) {
			refuse(w, http.StatusUnauthorized, "this page has no key: open it with the link that `edged ui` prints")
			return
		}
		next(w, r)
	}
}

// login exchanges the token of the link for the key.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Token string `json:"token"`
	}
	if !readJSON(w, r, &in) {
		return
	}
	key, err := s.keys.exchange(in.Token)
	switch {
	case errors.Is(err, errUsed):
		s.log.Warn("the link of the page was opened a second time, and refused")
		refuse(w, http.StatusForbidden, "This link was used before. If it was not you, another user of this machine may have opened it: stop `edged ui`. Otherwise run it again.")
	case err != nil:
		refuse(w, http.StatusForbidden, "This link is not of the page that runs now. Run `edged ui` again.")
	default:
		answer(w, map[string]string{"key": key})
	}
}

// issueTicket lets the browser download an export of a session.
func (s *Server) issueTicket(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Path string `json:"path"`
	}
	if !readJSON(w, r, &in) {
		return
	}
	if !exportPath.MatchString(in.Path) {
		refuse(w, http.StatusBadRequest, "only exports of sessions are downloaded, got "+in.Path)
		return
	}
	id, err := s.tickets.issue(in.Path)
	if err != nil {
		refuse(w, http.StatusTooManyRequests, err.Error())
		return
	}
	answer(w, map[string]string{"path": "/download/" + id})
}

func (s *Server) download(proxy http.Handler, w http.ResponseWriter, r *http.Request) {
	path, err := s.tickets.take(r.PathValue("ticket"))
	if err != nil {
		refuse(w, http.StatusForbidden, err.Error())
		return
	}
	out := r.Clone(r.Context())
	out.URL = &url.URL{Path: path}
	proxy.ServeHTTP(w, out)
}

// readJSON reads a small body, or refuses it.
func readJSON(w http.ResponseWriter, r *http.Request, to any) bool {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		err = json.Unmarshal(raw, to)
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "read the body: "+err.Error())
		return false
	}
	return true
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(body)
}

// refuse answers in the form of the API's errors.
func refuse(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(api.ErrorResponse{Error: api.ErrorDetail{Message: message, Type: "invalid_request_error"}})
}
