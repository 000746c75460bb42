package ipc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	// maxImports is how many imports are read at a time: each may keep the text of
	// a whole session in memory.
	maxImports = 1
	// minImportRate is what a client must send on average, in bytes per second,
	// after the time that every body has.
	minImportRate = 64 << 10
	// exportPiece is what a client must take within writeTimeout, in bytes.
	exportPiece = 256 << 10
)

// files returns the part of the sessions that can be moved.
func (s *Server) files() (SessionFiles, error) {
	if s.sessions == nil {
		return nil, errNoSessions()
	}
	if f, ok := s.sessions.(SessionFiles); ok {
		return f, nil
	}
	return nil, &Error{Kind: KindNotFound, Code: "unknown_route", Message: "this daemon does not export and import sessions"}
}

// handleSessionExport streams a session. A failure after the first byte cuts the
// connection, so that nobody takes a part for the whole.
func (s *Server) handleSessionExport(w *response, r *http.Request) error {
	files, err := s.files()
	if err != nil {
		return err
	}
	id, err := s.sessionOfPath(r)
	if err != nil {
		return err
	}
	uid := peerOf(r.Context())
	found, err := s.sessions.List(r.Context(), uid, SessionFilter{ID: id})
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return SessionNotFoundError(id)
	}
	h := w.Header()
	if r.Method == http.MethodHead {
		h.Set("Content-Type", exportType)
		w.WriteHeader(http.StatusOK)
		return nil
	}
	out := &exportWriter{ctx: r.Context(), w: w, id: id}
	// A write does not see that the daemon stops.
	defer context.AfterFunc(r.Context(), func() { w.ctl.SetWriteDeadline(time.Now()) })()
	began := time.Now()
	err = files.Export(r.Context(), uid, id, out)
	s.log.Info("ipc: session exported", "request", w.id, "session", id, "bytes", out.n, "took", time.Since(began).Round(time.Millisecond), "outcome", outcomeOf(r.Context(), err))
	if err != nil && w.begun {
		panic(http.ErrAbortHandler) // net/http cuts the connection, without the end of the body
	}
	return err
}

// exportType is the content type of exports.
const exportType = "application/vnd.edged.session"

// exportWriter gives the client time for each piece.
type exportWriter struct {
	ctx context.Context // of the request
	w   *response
	id  string
	n   int64 // bytes so far
}

func (e *exportWriter) Write(p []byte) (n int, err error) {
	if !e.w.begun {
		h := e.w.Header()
		h.Set("Content-Type", exportType)
		h.Set("Content-Disposition", `attachment; filename="`+e.id+`.edged"`)
	}
	for len(p) > 0 {
		piece := p[:min(len(p), exportPiece)]
		if err := e.w.ctl.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return n, fmt.Errorf("set write deadline: %w", err)
		}
		if err := context.Cause(e.ctx); err != nil { // it may have ended before the deadline was set
			return n, err
		}
		m, err := e.w.Write(piece)
		n, e.n = n+m, e.n+int64(m)
		if err != nil {
			return n, fmt.Errorf("write export: %w", err)
		}
		p = p[m:]
	}
	return n, nil
}

// handleSessionImport reads a session from the body, which may have any size:
// the store holds what it declares against the disk budget.
func (s *Server) handleSessionImport(w *response, r *http.Request) error {
	files, err := s.files()
	if err != nil {
		return err
	}
	if err := refuseEncoding(r); err != nil {
		return err
	}
	release, err := hold(r.Context(), s.imports, fmt.Sprintf("%d session is being imported, which is the limit", maxImports))
	if err != nil {
		return err
	}
	defer release()
	body := newImportReader(w, r)
	defer body.stop()
	began := time.Now()
	x, err := files.Import(r.Context(), peerOf(r.Context()), body)
	s.log.Info("ipc: session imported", "request", w.id, "session", x.ID, "bytes", body.n, "took", time.Since(began).Round(time.Millisecond), "outcome", outcomeOf(r.Context(), errors.Join(body.err, err)))
	switch {
	case errors.Is(body.err, errDraining):
		return body.err
	case body.err != nil: // whatever the store made of it
		return s.bodyFailure(body.err, int(body.n))
	case err != nil:
		return err
	}
	w.taken = true
	return writeJSON(w, http.StatusOK, apiSession(x))
}

// importReader reads a body with a deadline that follows what has arrived, so
// that neither a client that hangs nor one that trickles stays for ever. The
// time that the store takes is not the client's.
type importReader struct {
	w      *response
	r      *http.Request
	n      int64         // bytes so far
	waited time.Duration // for the client
	err    error         // why the body could not be read to its end
	stop   func() bool
}

func newImportReader(w *response, r *http.Request) *importReader {
	b := &importReader{w: w, r: r}
	// A read does not see that the daemon stops.
	b.stop = context.AfterFunc(r.Context(), func() { w.ctl.SetReadDeadline(time.Now()) })
	return b
}

func (b *importReader) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	now := time.Now()
	left := bodyTimeout + time.Duration(b.n)*time.Second/minImportRate - b.waited
	if err := b.w.ctl.SetReadDeadline(now.Add(min(left, bodyTimeout))); err != nil {
		return 0, fmt.Errorf("set read deadline: %w", err)
	}
	if b.r.Context().Err() != nil { // it may have ended before the deadline was set
		b.err = context.Cause(b.r.Context())
		return 0, b.err
	}
	n, err := b.r.Body.Read(p)
	b.n += int64(n)
	b.waited += time.Since(now)
	switch {
	case err == nil || err == io.EOF:
	case errors.Is(context.Cause(b.r.Context()), errDraining):
		b.err = errDraining
	default:
		b.err = err
	}
	return n, err
}
