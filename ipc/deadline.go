package ipc

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// timeoutHeader is how many seconds a request gives its answer.
const timeoutHeader = "X-Request-Timeout"

// maxTimeout is the longest that a request may ask for.
const maxTimeout = 24 * time.Hour

// deadlineError ends an answer that takes longer than it may.
type deadlineError struct {
	limit time.Duration
	by    string // what has set it
}

func (e *deadlineError) Error() string {
	return fmt.Sprintf("the answer was not complete after %v, the limit of %s", e.limit, e.by)
}

// failure is what the client is told. A retry would take as long.
func (e *deadlineError) failure() failure {
	return failure{status: http.StatusGatewayTimeout, kind: typeServer, code: "deadline_exceeded", noRetry: true, message: e.Error()}
}

// deadlineKey finds what a request gives its answer in the request's context.
type deadlineKey struct{}

// withTimeout reads how long a request gives its answer.
func withTimeout(r *http.Request) (*http.Request, error) {
	values := r.Header.Values(timeoutHeader)
	if len(values) == 0 {
		return r, nil
	}
	seconds, err := strconv.ParseFloat(values[0], 64)
	if err != nil || len(values) > 1 || !(seconds > 0 && seconds <= maxTimeout.Seconds()) {
		return r, &failure{status: http.StatusBadRequest, kind: typeInvalid, param: timeoutHeader,
			message: fmt.Sprintf("the header %s must be a number of seconds above 0 and at most %.0f, got %s", timeoutHeader, maxTimeout.Seconds(), show([]byte(values[0])))}
	}
	d := deadlineError{time.Duration(seconds * float64(time.Second)), "its header " + timeoutHeader}
	return r.WithContext(context.WithValue(r.Context(), deadlineKey{}, d)), nil
}

// clientOf tells apart the programs of a user, and whom of its users each asks for.
func clientOf(ctx context.Context, user string) string {
	return strings.TrimSpace(peerIn(ctx).client + " " + user)
}

// limited ends with the request's deadline, and with the server's.
func (s *Server) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	own, _ := ctx.Value(deadlineKey{}).(deadlineError)
	if d := time.Duration(s.maxAnswer.Load()); d > 0 && (own.limit == 0 || d < own.limit) {
		own = deadlineError{d, "this daemon (engine.request_timeout)"}
	}
	if own.limit == 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, own.limit, &own)
}

// SetMaxAnswer replaces Options.MaxAnswer for answers that begin from now on.
func (s *Server) SetMaxAnswer(d time.Duration) { s.maxAnswer.Store(int64(d)) }
