package ipc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// readBody reads a request body within the server's limits of size and time.
// The caller calls release once nothing is left whose size follows the body's:
// decoded fields, rendered text, tokens. Further calls do nothing.
func (s *Server) readBody(w *response, r *http.Request) (body []byte, release func(), err error) {
	release = func() {}
	if err := refuseEncoding(r); err != nil {
		return nil, release, err
	}
	if r.ContentLength > s.maxBody {
		return nil, release, s.tooLarge(fmt.Sprintf("%d", r.ContentLength))
	}
	limited := http.MaxBytesReader(w, r.Body, s.maxBody)
	body, err = io.ReadAll(io.LimitReader(limited, smallBodyBytes+1))
	if err == nil && len(body) > smallBodyBytes {
		if release, err = hold(r.Context(), s.large, fmt.Sprintf("%d requests of more than %d bytes are being read, which is the limit", maxLargeBodies, smallBodyBytes)); err != nil {
			return nil, func() {}, err
		}
		w.ctl.SetReadDeadline(time.Now().Add(bodyTimeout)) // the turn may have taken some of it
		var rest []byte
		rest, err = io.ReadAll(limited)
		body = append(body, rest...)
	}
	if err != nil {
		release()
		return nil, func() {}, s.bodyFailure(err, len(body))
	}
	// From here on net/http reads only to see whether the client hangs up,
	// which must not end with the time for the body.
	w.ctl.SetReadDeadline(time.Time{})
	w.taken = true
	return body, release, nil
}

// decode reads and decodes the body of a request to the engine, when that takes
// requests. The caller calls release as after readBody.
func decode[T any](s *Server, w *response, r *http.Request, read func([]byte) (*T, *Error)) (j *T, release func(), err error) {
	if err := failureOfStatus(s.status()); err != nil {
		return nil, nil, err
	}
	body, release, err := s.readBody(w, r)
	if err != nil {
		return nil, nil, err
	}
	j, bad := read(body)
	if bad != nil {
		release()
		return nil, nil, bad
	}
	return j, release, nil
}

// refuseEncoding refuses a body that would have to be unpacked.
func refuseEncoding(r *http.Request) error {
	enc := r.Header.Get("Content-Encoding")
	if enc == "" || enc == "identity" {
		return nil
	}
	return &failure{status: http.StatusUnsupportedMediaType, kind: typeInvalid, code: "encoding_not_supported",
		message: fmt.Sprintf("Content-Encoding %s is not supported; send the body as it is", show([]byte(enc)))}
}

// hold waits for a turn to do what only as many requests as slots has room for may
// do at a time. busy says that there are enough.
func hold(ctx context.Context, slots chan struct{}, busy string) (release func(), err error) {
	timeout := time.NewTimer(bodyTimeout)
	defer timeout.Stop()
	select {
	case slots <- struct{}{}:
		return sync.OnceFunc(func() { <-slots }), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timeout.C:
		return nil, &Error{Kind: KindBusy, RetryAfter: time.Second, Message: busy}
	}
}

func (s *Server) tooLarge(size string) *failure {
	return &failure{status: http.StatusRequestEntityTooLarge, kind: typeInvalid, code: "body_too_large",
		message: fmt.Sprintf("the body has %s bytes, but at most %d are accepted", size, s.maxBody)}
}

func (s *Server) bodyFailure(err error, got int) error {
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		return s.tooLarge(fmt.Sprintf("more than %d", s.maxBody))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &failure{status: http.StatusRequestTimeout, kind: typeInvalid, code: "body_timeout", noRetry: true,
			message: fmt.Sprintf("the body did not arrive within %s; got %d bytes", bodyTimeout, got)}
	default:
		return &failure{status: http.StatusBadRequest, kind: typeInvalid, code: "body_incomplete",
			message: fmt.Sprintf("the body could not be read past byte %d: %v", got, err)}
	}
}
