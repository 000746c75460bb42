package ipc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// response is a ResponseWriter that knows its request's id and whether it is
// too late for another status.
type response struct {
	http.ResponseWriter
	ctl   *http.ResponseController
	id    string
	shape func(failure) any // of errors; nil = OpenAI's
	begun bool              // a status has been written
	taken bool              // the request's body has been read to its end
}

func (w *response) WriteHeader(status int) {
	w.begun = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(p []byte) (int, error) {
	w.begun = true
	return w.ResponseWriter.Write(p)
}

// linger limits the time that net/http, before it sends the answer, waits for the
// rest of a body that no handler has read.
func (w *response) linger(r *http.Request) {
	if w.taken || r.ContentLength == 0 {
		return
	}
	w.ctl.SetReadDeadline(time.Now().Add(lingerTimeout))
	w.ctl.SetWriteDeadline(time.Now().Add(lingerTimeout + writeTimeout))
}

// Error makes a failure usable as the error of a handler.
func (f *failure) Error() string { return f.message }

// fail answers with the failure that err stands for, if no answer has begun.
func (s *Server) fail(w *response, err error) {
	f := s.failure(w.id, err)
	if w.begun {
		return
	}
	// Written even when the request's context has ended: net/http ends it at the
	// first error of reading a body, which the client shall be told about.
	f.setHeaders(w.Header())
	var body any = f.body()
	if w.shape != nil {
		body = w.shape(f)
	}
	if err := writeJSON(w, f.status, body); err != nil {
		s.log.Debug("ipc: write error response", "request", w.id, "err", err)
	}
}

// failure maps err and logs what the client does not get to see.
func (s *Server) failure(requestID string, err error) failure {
	var own *failure
	if errors.As(err, &own) {
		return *own
	}
	f, internal := failureOf(err, requestID)
	if internal {
		s.log.Error("ipc: request failed", "request", requestID, "err", err)
	}
	return f
}

// marshal encodes v on one line, without a newline.
func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false) // the text of models is full of < and >; nothing here is HTML
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode response: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// writeJSON sends a complete response.
func writeJSON(w *response, status int, v any) error {
	body, err := marshal(v)
	if err != nil {
		return err
	}
	body = append(body, '\n')
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.ctl.SetWriteDeadline(time.Now().Add(writeTimeout)) // the answer may have taken long
	w.WriteHeader(status)
	_, err = w.Write(body)
	if err != nil {
		return fmt.Errorf("write response: %w", err)
	}
	return nil
}
