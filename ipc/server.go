package ipc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"
)

// Limits of the server; docs/API.md lists them.
const (
	maxHeaderBytes = 64 << 10
	maxBodyBytes   = 32 << 20 // 8 million tokens of English text; 413 above
	smallBodyBytes = 1 << 20  // bodies above this are read few at a time
	maxLargeBodies = 2        // to decode and tokenize them takes a multiple of their size
	maxConns       = 256      // connections served at a time
	maxUnread      = 4 << 20  // bytes of a stream queued for a client that does not read

	headerTimeout = 10 * time.Second  // to receive a request's header
	bodyTimeout   = 30 * time.Second  // to receive its body
	writeTimeout  = 30 * time.Second  // for a client to take what it is sent
	lingerTimeout = 1 * time.Second   // for the rest of a body that is not wanted
	idleTimeout   = 120 * time.Second // between the requests of a connection

	// headerGrace is how long a stream waits for the engine to accept or refuse
	// a request before it commits to status 200.
	headerGrace = 2 * time.Second
	// abortGrace is how long cancelled answers have to end after a drain.
	abortGrace = 5 * time.Second
)

// DefaultKeepAlive is the silence in a stream after which a comment is sent:
// well below the shortest idle timeout of the usual clients (300 s).
const DefaultKeepAlive = 10 * time.Second

// Options configure a Server. The zero value is usable.
type Options struct {
	Log         *slog.Logger  // nil = slog.Default()
	AllowedUIDs []uint32      // peers besides root and the daemon's own user
	AllowedGID  *uint32       // peers in this group, besides those; nil = none
	KeepAlive   time.Duration // 0 = DefaultKeepAlive
	MaxAnswer   time.Duration // the longest that an answer takes; 0 = no limit
	Sessions    Sessions      // nil = none are kept
	Operator    Operator      // nil = only what Engine.Status says is reported
}

// Server serves the API on any number of listeners.
type Server struct {
	engine    Engine
	sessions  Sessions // or nil
	operator  Operator // or nil
	log       *slog.Logger
	keepAlive atomic.Int64 // time.Duration
	maxAnswer atomic.Int64 // time.Duration; 0 = no limit
	http      *http.Server
	gate      *gate
	large     chan struct{} // capacity: large bodies in memory at a time
	imports   chan struct{} // capacity: imports at a time
	maxBody   int64

	abort    context.CancelCauseFunc // ends every answer in flight
	draining atomic.Bool

	now   func() time.Time
	newID func() string // random part of request and response ids
}

// New returns a server that answers from engine. Call Serve to start it.
func New(engine Engine, opt Options) *Server {
	base, abort := context.WithCancelCause(context.Background())
	s := &Server{
		engine:   engine,
		sessions: opt.Sessions,
		operator: opt.Operator,
		log:      opt.Log,
		large:    make(chan struct{}, maxLargeBodies),
		imports:  make(chan struct{}, maxImports),
		maxBody:  maxBodyBytes,
		abort:    abort,
		now:      time.Now,
		newID:    randomID,
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.gate = &gate{
		log: s.log, peer: peerOfConn,
		slots: make(chan struct{}, maxConns), tcpSlots: make(chan struct{}, maxTCPConns), refusals: make(chan struct{}, maxRefusals),
	}
	s.SetAllowedUIDs(opt.AllowedUIDs)
	s.gate.group.Store(opt.AllowedGID)
	s.SetKeepAlive(opt.KeepAlive)
	s.SetMaxAnswer(opt.MaxAnswer)
	// No ReadTimeout and WriteTimeout: they would end long answers. The handlers
	// set deadlines for each body and each write instead.
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnContext:       withPeer,
		ErrorLog:          log.New(debugLog{s.log}, "", 0),
	}
	return s
}

// SetAllowedUIDs replaces the list of Options.AllowedUIDs. It holds for new
// connections; those that are open stay.
func (s *Server) SetAllowedUIDs(uids []uint32) {
	uids = slices.Clone(uids)
	s.gate.uids.Store(&uids)
}

// SetKeepAlive replaces Options.KeepAlive for answers that begin from now on.
func (s *Server) SetKeepAlive(d time.Duration) {
	if d == 0 {
		d = DefaultKeepAlive
	}
	s.keepAlive.Store(int64(d))
}

// Serve accepts connections on l until Shutdown, and then returns nil. It may be
// called for several listeners.
func (s *Server) Serve(l net.Listener) error {
	return s.serve(gatedListener{Listener: l, gate: s.gate})
}

func (s *Server) serve(l gatedListener) error {
	err := s.http.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve ipc: %w", err)
}

// Shutdown closes the listeners and waits for the answers in flight. When ctx
// ends first, it cancels them, gives them a moment to tell their clients, and
// returns an error that wraps ctx's cause.
func (s *Server) Shutdown(ctx context.Context) error {
	s.draining.Store(true)
	defer s.gate.wg.Wait()
	defer s.abort(errDraining)
	if err := s.http.Shutdown(ctx); err == nil {
		return nil
	} else if ctx.Err() == nil {
		return fmt.Errorf("close ipc listeners: %w", err)
	}
	s.abort(errDraining)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortGrace)
	defer cancel()
	err := fmt.Errorf("drain ipc: answers were cut off: %w", context.Cause(ctx))
	if s.http.Shutdown(last) != nil {
		return errors.Join(err, s.http.Close())
	}
	return err
}

// status is the engine's state, as far as this server still takes requests.
func (s *Server) status() Status {
	if s.draining.Load() {
		return Status{State: Draining}
	}
	return s.engine.Status()
}

func randomID() string {
	var b [12]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// debugLog takes what net/http has to say about broken connections.
type debugLog struct{ log *slog.Logger }

func (d debugLog) Write(p []byte) (int, error) {
	d.log.Debug("ipc: http", "text", string(p))
	return len(p), nil
}
