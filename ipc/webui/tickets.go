package webui

import (
	"crypto/rand"
	"errors"
	"sync"
	"time"
)

const (
	ticketTime = time.Minute // that a ticket is good for
	maxTickets = 16          // that wait to be used
)

var (
	errTicket  = errors.New("this download link is not valid any more")
	errTickets = errors.New("too many downloads wait to begin")
)

// tickets let the browser's own download fetch a file, which cannot send the key
// and need not hold the file in memory as the page would have to. Each is good once.
type tickets struct {
	now func() time.Time

	mu   sync.Mutex
	open map[string]ticket
}

// ticket is a request that may be made once.
type ticket struct {
	path string // of the API
	ends time.Time
}

func newTickets(now func() time.Time) *tickets {
	return &tickets{now: now, open: map[string]ticket{}}
}

// issue makes a ticket for a path of the API.
func (t *tickets) issue(path string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	for id, k := range t.open {
		if now.After(k.ends) {
			delete(t.open, id)
		}
	}
	if len(t.open) >= maxTickets {
		return "", errTickets
	}
	id := rand.Text()
	t.open[id] = ticket{path: path, ends: now.Add(ticketTime)}
	return id, nil
}

// take uses a ticket up, and gives the path that it is for.
func (t *tickets) take(id string) (path string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k, ok := t.open[id]
	delete(t.open, id)
	if !ok || t.now().After(k.ends) {
		return "", errTicket
	}
	return k.path, nil
}
