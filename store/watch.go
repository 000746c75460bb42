package store

import (
	"context"
	"database/sql/driver"
	"maps"
	"sync"

	"github.com/mattn/go-sqlite3"
)

// connector opens SQLite connections with a driver of their own.
type connector struct {
	dsn    string
	driver *sqlite3.SQLiteDriver
}

func (c connector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.dsn) }
func (c connector) Driver() driver.Driver                        { return c.driver }

// changedRows collects the sessions whose rows have changed, as SQLite reports
// them: nobody who changes a row has to think of it.
type changedRows struct {
	inside map[int64]bool // by the transaction that writes; guarded by database.write

	mu      sync.Mutex // guards settled
	settled map[int64]bool
}

// watch sees every change of a row on a connection that writes.
func (d *database) watch(c *sqlite3.SQLiteConn) error {
	c.RegisterUpdateHook(func(_ int, _, table string, id int64) {
		if table != "sessions" {
			return
		}
		if d.changed.inside == nil {
			d.changed.inside = map[int64]bool{}
		}
		d.changed.inside[id] = true
	})
	return nil
}

// settle hands over what the transaction has changed, once it has ended: before
// that, others would read the old rows and think them new.
func (c *changedRows) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.settled == nil {
		c.settled = map[int64]bool{}
	}
	for id := range c.inside {
		c.settled[id] = true
	}
	clear(c.inside)
}

// take returns the changed rows since the last call.
func (c *changedRows) take() map[int64]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.settled
	c.settled = nil
	return taken
}

// putBack returns rows that could not be read again.
func (c *changedRows) putBack(rows map[int64]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.settled == nil {
		c.settled = map[int64]bool{}
	}
	maps.Copy(c.settled, rows)
}
