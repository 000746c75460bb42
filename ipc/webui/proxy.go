package webui

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"regexp"

	"edged/ipc/client"
)

// routes are what the page uses of the API. A route that is not here does not exist
// behind the port.
var routes = []struct {
	method string
	path   *regexp.Regexp
}{
	{http.MethodGet, regexp.MustCompile(`^/readyz$`)},
	{http.MethodGet, regexp.MustCompile(`^/v1/status$`)},
	{http.MethodGet, regexp.MustCompile(`^/v1/models$`)},
	{http.MethodPost, regexp.MustCompile(`^/v1/chat/completions$`)},
	{http.MethodGet, regexp.MustCompile(`^/v1/sessions$`)},
	{http.MethodPost, regexp.MustCompile(`^/v1/sessions$`)},
	{http.MethodPost, regexp.MustCompile(`^/v1/sessions/import$`)},
	{http.MethodGet, sessionPath},
	{http.MethodPatch, sessionPath},
	{http.MethodDelete, sessionPath},
	{http.MethodPost, regexp.MustCompile(`^/v1/sessions/[a-z0-9]+/fork$`)},
}

var (
	sessionPath = regexp.MustCompile(`^/v1/sessions/[a-z0-9]+$`)
	exportPath  = regexp.MustCompile(`^/v1/sessions/[a-z0-9]+/export$`)
)

// known says whether the page may make a request.
func known(method, path string) bool {
	for _, r := range routes {
		if r.method == method && r.path.MatchString(path) {
			return true
		}
	}
	return false
}

// newProxy passes requests on to the daemon's socket. Nothing of the browser but
// the content's type goes with them: the daemon refuses what looks like a page.
// When the browser leaves, the request to the daemon ends, and with it the answer.
func newProxy(socket string, log *slog.Logger) http.Handler {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = "http", "edged", "edged"
			p.Out.Header = http.Header{"Content-Type": p.In.Header["Content-Type"]}
		},
		Transport:     &http.Transport{DialContext: dial, DisableCompression: true},
		FlushInterval: -1, // a token is seen when it is there
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil {
				return // nobody reads it
			}
			refuse(w, http.StatusBadGateway, client.Explain(err, socket).Error())
		},
	}
}
