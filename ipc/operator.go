package ipc

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"edged/ipc/api"
)

// Operator is what the server needs from the rest of the daemon to answer those
// who watch over it. All methods may be called concurrently.
type Operator interface {
	// Prove returns nil when a token has been decoded within the last minute, or
	// just now for this call.
	Prove(ctx context.Context) error
	// Conditions lists what is wrong, the worst first.
	Conditions() []api.Condition
	// Status is everything at once.
	Status(ctx context.Context) (api.Status, error)
	// Metrics answers a scrape.
	Metrics() http.Handler
}

// proofTimeout is what /readyz gives an engine to decode. A supervisor's own
// limit is usually shorter than a minute.
const proofTimeout = 20 * time.Second

// operatorRoutes has no routes for what nobody can answer.
func (s *Server) operatorRoutes() map[string]map[string]handlerFunc {
	if s.operator == nil {
		return nil
	}
	return map[string]map[string]handlerFunc{
		"/status":  {http.MethodGet: s.handleStatus},
		"/metrics": {http.MethodGet: s.handleMetrics},
	}
}

// handleLive says only that the server answers. A supervisor that restarts on
// its failure must not do so while a large model loads. With ?verbose it also
// lists what is wrong.
func (s *Server) handleLive(w *response, r *http.Request) error {
	h := api.Health{Status: "ok"}
	if r.URL.Query().Has("verbose") && s.operator != nil {
		h.Conditions = s.operator.Conditions()
	}
	return writeJSON(w, http.StatusOK, h)
}

// handleReady says whether a generation request would be taken now, and would be
// answered: an engine that has not decoded lately is asked to, and one that has failed
// and tries again too.
func (s *Server) handleReady(w *response, r *http.Request) error {
	st := s.status()
	if (st.State == Ready || st.Retries) && s.operator != nil {
		ctx, cancel := context.WithTimeoutCause(r.Context(), proofTimeout, fmt.Errorf("no token was decoded within %v", proofTimeout))
		defer cancel()
		if err := s.operator.Prove(ctx); err != nil {
			if now := s.status(); now.State != Ready {
				st = now
			} else {
				st = Status{State: Failed, Text: err.Error()}
			}
		}
	}
	status := http.StatusOK
	if st.State != Ready {
		status = http.StatusServiceUnavailable
	}
	if st.State == Loading {
		failure{retryAfter: defaultRetryAfter}.setHeaders(w.Header())
	}
	return writeJSON(w, status, api.Health{Status: st.State.String(), Text: st.Text})
}

func (s *Server) handleStatus(w *response, r *http.Request) error {
	st, err := s.operator.Status(r.Context())
	if err != nil {
		return err
	}
	now := s.status() // the server knows first that it drains
	st.State, st.Text = now.State.String(), now.Text
	return writeJSON(w, http.StatusOK, st)
}

func (s *Server) handleMetrics(w *response, r *http.Request) error {
	s.operator.Metrics().ServeHTTP(w, r)
	return nil
}
