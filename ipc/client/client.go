// Package client talks to the daemon over its Unix socket.
//
// A [Client] is safe for concurrent use. Generation is always streamed, so that
// the daemon's keepalives and prefill progress arrive however long a prompt
// takes; there are no timeouts besides the caller's context. Cancelling
// the context of a call ends the generation in the daemon.
//
// Errors: [ErrNotRunning] and [ErrNoAccess] when the daemon cannot be reached,
// *[Error] when it refuses, [ErrCutOff] when an answer ends without its last event.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"edged/ipc/api"
)

var (
	// ErrNotRunning means that no daemon listens on the socket.
	ErrNotRunning = errors.New("the daemon is not running")
	// ErrNoAccess means that the socket's permissions do not let this user in.
	ErrNoAccess = errors.New("no permission to use the daemon's socket")
	// ErrCutOff means that a stream ended before the answer was complete.
	ErrCutOff = errors.New("the answer was cut off")
)

// Error is a refusal by the daemon, or a failure that ended a stream.
type Error struct {
	api.ErrorDetail
	Status     int           // HTTP status; 0 for an error inside a stream
	RetryAfter time.Duration // 0 = not given
	RequestID  string        // to be found in the daemon's log
}

// Error returns the daemon's message.
func (e *Error) Error() string { return e.Message }

// Client is a connection pool to one daemon.
type Client struct {
	path string
	http *http.Client
}

// New returns a client for the socket at path. It does not connect.
func New(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	return &Client{path: path, http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableCompression: true}}}
}

// Close closes idle connections. Calls in flight are not affected.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Models lists the models, the default first.
func (c *Client) Models(ctx context.Context) ([]api.Model, error) {
	var list api.ModelList
	err := c.call(ctx, http.MethodGet, "/v1/models", nil, &list)
	return list.Data, err
}

// Model describes one model.
func (c *Client) Model(ctx context.Context, id string) (api.Model, error) {
	var m api.Model
	err := c.call(ctx, http.MethodGet, "/v1/models/"+url.PathEscape(id), nil, &m)
	return m, err
}

// Token is a token id, with its bytes when they were asked for.
type Token struct {
	ID    int32
	Piece []byte
}

// Tokenize returns the tokens of a text.
func (c *Client) Tokenize(ctx context.Context, req api.TokenizeRequest) ([]Token, error) {
	var out api.TokenizeResponse
	if err := c.call(ctx, http.MethodPost, "/tokenize", req, &out); err != nil {
		return nil, err
	}
	tokens, err := decodeTokens(out.Tokens, req.WithPieces)
	if err != nil {
		return nil, fmt.Errorf("decode tokens: %w", err)
	}
	return tokens, nil
}

func decodeTokens(raw json.RawMessage, withPieces bool) ([]Token, error) {
	if !withPieces {
		var ids []int32
		if err := json.Unmarshal(raw, &ids); err != nil {
			return nil, err
		}
		tokens := make([]Token, len(ids))
		for i, id := range ids {
			tokens[i].ID = id
		}
		return tokens, nil
	}
	var pieces []api.TokenPiece
	if err := json.Unmarshal(raw, &pieces); err != nil {
		return nil, err
	}
	tokens := make([]Token, len(pieces))
	for i, p := range pieces {
		piece, err := decodePiece(p.Piece)
		if err != nil {
			return nil, err
		}
		tokens[i] = Token{ID: p.ID, Piece: piece}
	}
	return tokens, nil
}

// decodePiece reads a string, or an array of byte values.
func decodePiece(raw json.RawMessage) ([]byte, error) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return []byte(text), nil
	}
	var values []uint16 // []uint8 would be read as base64
	if err := json.Unmarshal(raw, &values); err != nil {
		return nil, err
	}
	piece := make([]byte, len(values))
	for i, v := range values {
		piece[i] = byte(v)
	}
	return piece, nil
}

// Detokenize returns the text of token ids. An empty model means the default.
func (c *Client) Detokenize(ctx context.Context, model string, ids []int32) (string, error) {
	if ids == nil {
		ids = []int32{} // the field is required, and null is not an array
	}
	var out api.DetokenizeResponse
	err := c.call(ctx, http.MethodPost, "/detokenize", api.DetokenizeRequest{Model: model, Tokens: ids}, &out)
	return out.Content, err
}

// Ready returns the daemon's state. A daemon that is not ready is no error:
// its Health says so.
func (c *Client) Ready(ctx context.Context) (api.Health, error) {
	resp, err := c.send(ctx, http.MethodGet, "/readyz", nil)
	if err != nil {
		return api.Health{}, err
	}
	defer drain(resp)
	var h api.Health
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusServiceUnavailable {
		return h, errorOf(resp)
	}
	if err := json.NewDecoder(resp.Body).Decode(&h); err != nil {
		return h, fmt.Errorf("decode readiness: %w", err)
	}
	return h, nil
}

// call sends in as JSON, unless it is nil, and decodes the answer into out.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	return decodeAnswer(resp, path, out)
}

// decodeAnswer reads a JSON answer into out, or the error in its place.
func decodeAnswer(resp *http.Response, path string, out any) error {
	defer drain(resp)
	if resp.StatusCode != http.StatusOK {
		return errorOf(resp)
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("decode answer of %s: %w", path, err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://edged"+path, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return c.do(req)
}

// do sends a request and gives errors of the connection their names.
func (c *Client) do(req *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(req)
	switch {
	case err == nil:
		return resp, nil
	case req.Context().Err() != nil:
		return nil, context.Cause(req.Context())
	}
	return nil, Explain(err, c.path)
}

// Explain gives an error of a request over the socket at path its name:
// [ErrNotRunning] or [ErrNoAccess], when it is one of these.
func Explain(err error, path string) error {
	switch {
	case isDial(err) && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)):
		return fmt.Errorf("%w (socket %s: %w)", ErrNotRunning, path, reason(err))
	case isDial(err) && errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w (socket %s: %w)", ErrNoAccess, path, reason(err))
	}
	return fmt.Errorf("call daemon: %w", err)
}

// reason is the system's own error, without the URL and the address around it
// that repeat the socket.
func reason(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// maxErrorBody is more than any error of the daemon has, in bytes.
const maxErrorBody = 64 << 10

func errorOf(resp *http.Response) error {
	e := &Error{Status: resp.StatusCode, RequestID: resp.Header.Get("X-Request-Id")}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if err != nil {
		return fmt.Errorf("read error response with status %s: %w", resp.Status, err)
	}
	var body api.ErrorResponse
	if json.Unmarshal(raw, &body) != nil || body.Error.Message == "" {
		// Not our server, or net/http refused the request before it got there.
		e.Message = fmt.Sprintf("the daemon answered %s: %s", resp.Status, bytes.TrimSpace(raw))
		return e
	}
	e.ErrorDetail = body.Error
	return e
}

// drain lets the connection be used again.
func drain(resp *http.Response) {
	io.Copy(io.Discard, io.LimitReader(resp.Body, maxErrorBody))
	resp.Body.Close()
}
