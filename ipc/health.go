package ipc

import (
	"net/http"

	"edged/ipc/api"
)

// handleLive says only that the server answers. A supervisor that restarts on
// its failure must not do so while a large model loads.
func (s *Server) handleLive(w *response, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, api.Health{Status: "ok"})
}

// handleReady says whether a generation request would be taken now.
func (s *Server) handleReady(w *response, _ *http.Request) error {
	st := s.status()
	status := http.StatusOK
	if st.State != Ready {
		status = http.StatusServiceUnavailable
	}
	if st.State == Loading {
		failure{retryAfter: defaultRetryAfter}.setHeaders(w.Header())
	}
	return writeJSON(w, status, api.Health{Status: st.State.String(), Text: st.Text})
}
