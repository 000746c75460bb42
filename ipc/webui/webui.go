// Package webui shows the daemon in a browser: a page on a loopback port, and the
// part of the daemon's API that the page uses.
//
// The daemon itself has no port. [Server] belongs to the process of one user, and
// reaches the daemon's Unix socket with that user's id, so that the page can do what
// its user can do, and ends with the process.
//
// A loopback port is open to every user of the machine and to every page in the
// browser, so the API behind it asks for a key. The link that opens the page
// carries a token in its fragment, which browsers never send; the page
// exchanges it, once, for the key, and keeps that in its tab. It is no cookie:
// cookies of a host are shared by all its ports. Requests must name the port's own
// Host, so that no other name can be made to point here, and what a page may load
// is fixed by its Content-Security-Policy.
//
// A Server is safe for concurrent use. Failures to reach the daemon are answered as
// the API's errors, with status 502.
package webui

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	headerTimeout = 10 * time.Second  // for a request's header to arrive
	idleTimeout   = 120 * time.Second // of a connection
	maxHeader     = 16 << 10          // bytes
)

// Server serves the page of one user.
type Server struct {
	listener net.Listener
	origin   string // http://127.0.0.1:PORT
	keys     *keys
	tickets  *tickets
	http     *http.Server
	log      *slog.Logger
}

// New listens on a free port of 127.0.0.1, for the daemon whose Unix socket has a
// path. Serve must be called, or Close.
func New(socket string, log *slog.Logger) (*Server, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen on the loopback address: %w", err)
	}
	s := &Server{listener: l, origin: "http://" + l.Addr().String(), keys: newKeys(), tickets: newTickets(time.Now), log: log}
	s.http = &http.Server{
		Handler: s.handler(newProxy(socket, log)), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// Link opens the page, once.
func (s *Server) Link() string { return s.origin + "/#" + s.keys.token }

// Serve answers until ctx ends, and then cuts what still runs: an answer that
// nobody sees any more has no reader to wait for.
func (s *Server) Serve(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { s.http.Close() })()
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the page: %w", err)
	}
	return nil
}
