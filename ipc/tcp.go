package ipc

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// TCP says who may use the API over TCP. The kernel does not tell who connects,
// and pages in browsers can: every request has to carry the token, and to name a
// host and, if any, an origin that is expected.
type TCP struct {
	Token   string   // of every request: Authorization: Bearer, or X-Api-Key
	Hosts   []string // names of this machine besides localhost, 127.0.0.1 and ::1
	Origins []string // of pages that may ask, such as https://chat.example
	UID     uint32   // the user whose requests these are
}

// maxTCPConns is the number of TCP connections served at a time. Those who may
// not use the daemon can open them, too: they have no part in the others' limit.
const maxTCPConns = 64

// ServeTCP is Serve for a listener whose connections have no credentials.
func (s *Server) ServeTCP(l net.Listener, t TCP) error {
	t.Hosts, t.Origins = slices.Clone(t.Hosts), slices.Clone(t.Origins)
	return s.serve(gatedListener{Listener: l, gate: s.gate, tcp: &t})
}

// authorise says why a request is refused before anything of it is looked at. w
// gets the headers that a browser needs.
func (t *TCP) authorise(w http.ResponseWriter, r *http.Request) (preflight bool, err error) {
	if !t.allowsHost(r.Host) {
		// A name that an attacker has pointed to this machine, so that a page of the
		// attacker's may talk to it.
		return false, &failure{status: http.StatusForbidden, kind: typePermission, code: "host_refused",
			message: fmt.Sprintf("requests for the host %s are refused; localhost, 127.0.0.1, [::1] and tcp.hosts are expected", show([]byte(r.Host)))}
	}
	origin, err := t.origin(r)
	if err != nil {
		return false, err
	}
	if origin != "" {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", "X-Request-Id, Retry-After")
		h.Add("Vary", "Origin")
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			h.Set("Access-Control-Allow-Methods", "GET, POST, PATCH, DELETE")
			h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Api-Key, "+sessionHeader+", "+timeoutHeader)
			return true, nil // carries no token, and gets nothing
		}
	}
	return false, t.checkToken(w, r)
}

func (t *TCP) allowsHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	return host == "localhost" || host == "127.0.0.1" || host == "::1" ||
		slices.ContainsFunc(t.Hosts, func(h string) bool { return strings.EqualFold(h, host) })
}

// origin is the page that asks, "" when none does.
func (t *TCP) origin(r *http.Request) (string, error) {
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		ref := r.Header.Get("Referer")
		if ref == "" {
			return "", nil
		}
		origins = []string{ref}
		if u, err := url.Parse(ref); err == nil {
			origins = []string{u.Scheme + "://" + u.Host}
		}
	}
	if len(origins) == 1 && slices.Contains(t.Origins, origins[0]) {
		return origins[0], nil
	}
	return "", &failure{status: http.StatusForbidden, kind: typePermission, code: "origin_refused",
		message: fmt.Sprintf("requests of the page %s are refused; pages have to be listed in tcp.origins", show([]byte(origins[0])))}
}

func (t *TCP) checkToken(w http.ResponseWriter, r *http.Request) error {
	given := r.Header.Values("X-Api-Key")
	for _, v := range r.Header.Values("Authorization") {
		scheme, token, _ := strings.Cut(v, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			token = ""
		}
		given = append(given, strings.TrimSpace(token))
	}
	good := len(given) > 0
	want := sha256.Sum256([]byte(t.Token))
	for _, token := range given { // a client may send the same in both headers
		// Digests have one length, so that the comparison takes one time.
		got := sha256.Sum256([]byte(token))
		good = subtle.ConstantTimeCompare(got[:], want[:]) == 1 && good
	}
	if good && t.Token != "" {
		return nil
	}
	message := "the token is wrong"
	if len(given) == 0 {
		message = "over TCP, every request needs the token: Authorization: Bearer TOKEN"
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="edged"`)
	w.Header().Set("Connection", "close")
	return &failure{status: http.StatusUnauthorized, kind: typeAuth, code: "invalid_api_key", message: message}
}
