package client

import (
	"context"
	"net/http"

	"edged/ipc/api"
)

// Status returns what the daemon does, all users together.
func (c *Client) Status(ctx context.Context) (api.Status, error) {
	var s api.Status
	err := c.call(ctx, http.MethodGet, "/status", nil, &s)
	return s, err
}
