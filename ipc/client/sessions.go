package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"edged/ipc/api"
)

// SessionFilter chooses sessions; zero fields choose all.
type SessionFilter struct {
	ID    string // equal
	Title string // equal
	Tag   string // one of the tags
}

// listPage is how many sessions are asked for at a time.
const listPage = 1000

// Sessions lists the user's sessions, the last changed first. A list that
// changes while it is read may miss a session that was changed meanwhile.
func (c *Client) Sessions(ctx context.Context, f SessionFilter) ([]api.Session, error) {
	query := url.Values{"limit": {strconv.Itoa(listPage)}}
	for name, value := range map[string]string{"id": f.ID, "title": f.Title, "tag": f.Tag} {
		if value != "" {
			query.Set(name, value)
		}
	}
	var all []api.Session
	seen := map[string]bool{} // a session that is changed meanwhile moves to the front
	for {
		var page api.SessionList
		if err := c.call(ctx, http.MethodGet, "/v1/sessions?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		for _, s := range page.Data {
			if !seen[s.ID] {
				seen[s.ID] = true
				all = append(all, s)
			}
		}
		if !page.HasMore || len(page.Data) == 0 {
			return all, nil
		}
		query.Set("after", page.Data[len(page.Data)-1].ID)
	}
}

// Session describes a session with its messages.
func (c *Client) Session(ctx context.Context, id string) (api.SessionDetail, error) {
	var s api.SessionDetail
	err := c.call(ctx, http.MethodGet, sessionPath(id), nil, &s)
	return s, err
}

// CreateSession makes a session without messages.
func (c *Client) CreateSession(ctx context.Context, n api.SessionNew) (api.Session, error) {
	var s api.Session
	err := c.call(ctx, http.MethodPost, "/v1/sessions", n, &s)
	return s, err
}

// EditSession renames and tags a session.
func (c *Client) EditSession(ctx context.Context, id string, e api.SessionEdit) (api.Session, error) {
	var s api.Session
	err := c.call(ctx, http.MethodPatch, sessionPath(id), e, &s)
	return s, err
}

// ForkSession makes a session of the beginning of another.
func (c *Client) ForkSession(ctx context.Context, id string, f api.SessionFork) (api.Session, error) {
	var s api.Session
	err := c.call(ctx, http.MethodPost, sessionPath(id)+"/fork", f, &s)
	return s, err
}

// DeleteSession removes a session for good.
func (c *Client) DeleteSession(ctx context.Context, id string) error {
	var d api.SessionDeleted
	return c.call(ctx, http.MethodDelete, sessionPath(id), nil, &d)
}

// ExportSession writes a session to w and returns the bytes. With an error, what
// was written is no export: [ErrCutOff] when the daemon ended it.
func (c *Client) ExportSession(ctx context.Context, id string, w io.Writer) (int64, error) {
	resp, err := c.send(ctx, http.MethodGet, sessionPath(id)+"/export", nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, errorOf(resp)
	}
	body := &body{r: resp.Body}
	n, err := io.Copy(w, body)
	switch {
	case ctx.Err() != nil:
		return n, context.Cause(ctx)
	case body.err != nil:
		return n, fmt.Errorf("%w: %w (the daemon's log has the cause under %s)", ErrCutOff, body.err, resp.Header.Get("X-Request-Id"))
	case err != nil:
		return n, fmt.Errorf("write export: %w", err)
	}
	return n, nil
}

// body tells errors of reading from those of writing.
type body struct {
	r   io.Reader
	err error
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

// ImportSession makes a session of an export, which it reads to its end.
func (c *Client) ImportSession(ctx context.Context, r io.Reader) (api.Session, error) {
	var s api.Session
	in := &body{r: r}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://edged/v1/sessions/import", io.NopCloser(in))
	if err != nil {
		return s, fmt.Errorf("make request: %w", err)
	}
	resp, err := c.do(req)
	if in.err != nil {
		err = fmt.Errorf("read export: %w", in.err)
	}
	if err != nil {
		return s, err
	}
	return s, decodeAnswer(resp, req.URL.Path, &s)
}

func sessionPath(id string) string { return "/v1/sessions/" + url.PathEscape(id) }
