package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"sync"

	"github.com/mattn/go-sqlite3"
)

// databaseFile is the index's name in the store's folder.
const databaseFile = "index.db"

// maxViews bounds transactions that read; more callers wait.
const maxViews = 4

// database is SQLite: one transaction that writes at a time, and a few that read.
// Readers see the last committed state and never wait for the writer.
//
// Statements run without a caller's context: they are short, and a context
// that can end makes the driver start a goroutine for every row.
type database struct {
	writer, reader *sql.DB
	write          sync.Mutex    // held while a transaction writes
	views          chan struct{} // [maxViews] one token for each transaction that reads
	statements     sync.Map      // statement -> *sql.Stmt
	changed        changedRows
}

// statement is a prepared text on one of the two pools.
type statement struct {
	pool  *sql.DB
	query string
}

func openDatabase(path string) (*database, error) {
	dsn := func(options string) string {
		u := url.URL{Scheme: "file", Path: path, RawQuery: "_foreign_keys=1&_busy_timeout=5000&_synchronous=FULL" + options}
		return u.String()
	}
	d := &database{views: make(chan struct{}, maxViews)}
	w := sql.OpenDB(connector{dsn("&_txlock=immediate&_secure_delete=on"), &sqlite3.SQLiteDriver{ConnectHook: d.watch}})
	// A statement is prepared beside a transaction that waits for it, on a
	// connection that no transaction ever holds.
	w.SetMaxOpenConns(1 + 1)
	w.SetMaxIdleConns(1 + 1)
	r, err := sql.Open("sqlite3", dsn("&_query_only=1"))
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	r.SetMaxOpenConns(maxViews + 1)
	r.SetMaxIdleConns(maxViews + 1)
	d.writer, d.reader = w, r
	return d, nil
}

// prepare checks the version, brings the file into WAL mode and up to date.
// unclean says that the last owner did not close it.
func (d *database) prepare(ctx context.Context, unclean bool) error {
	if _, err := checkVersion(ctx, d.writer, len(migrations)); err != nil {
		return err
	}
	if unclean {
		if err := errors.Join(pagesHold(ctx, d.writer), foreignKeysHold(ctx, d.writer)); err != nil {
			return err
		}
	}
	var mode string
	if err := d.writer.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return fmt.Errorf("set journal mode: %w", err)
	}
	if mode != "wal" {
		return fmt.Errorf("set journal mode: file system allows %q, not WAL", mode)
	}
	return migrate(ctx, d.writer, migrations)
}

func (d *database) close() error {
	var errs []error
	d.statements.Range(func(_, s any) bool {
		errs = append(errs, s.(*sql.Stmt).Close())
		return true
	})
	return errors.Join(append(errs, d.reader.Close(), d.writer.Close())...)
}

// prepared is a statement's prepared form, made at its first use.
func (d *database) prepared(pool *sql.DB, query string) (*sql.Stmt, error) {
	key := statement{pool, query}
	if s, ok := d.statements.Load(key); ok {
		return s.(*sql.Stmt), nil
	}
	s, err := pool.Prepare(query)
	if err != nil {
		return nil, fmt.Errorf("prepare statement: %w", err)
	}
	if other, loaded := d.statements.LoadOrStore(key, s); loaded {
		return other.(*sql.Stmt), s.Close()
	}
	return s, nil
}

// scanner is a row whose columns can be read.
type scanner interface{ Scan(columns ...any) error }

// runner runs statements: in a transaction, or on the readers' pool.
type runner interface {
	stmt(query string) (*sql.Stmt, error)
}

// reads runs statements that only read, each by itself.
type reads struct{ d *database }

func (r reads) stmt(query string) (*sql.Stmt, error) { return r.d.prepared(r.d.reader, query) }

// txn runs statements in a transaction.
type txn struct {
	d    *database
	pool *sql.DB
	tx   *sql.Tx
}

func (t txn) stmt(query string) (*sql.Stmt, error) {
	s, err := t.d.prepared(t.pool, query)
	if err != nil {
		return nil, err
	}
	return t.tx.Stmt(s), nil
}

// errUnsure says that a transaction could not be committed. It has not happened,
// but its pages may lie in the log, and a crash before the next transaction could
// bring it back.
var errUnsure = errors.New("commit transaction")

// update runs f in a transaction that writes. When it returns nil, the changes
// survive a power loss; otherwise nothing has changed.
func (d *database) update(f func(txn) error) error {
	d.write.Lock()
	defer d.write.Unlock()
	err := d.transact(d.writer, f)
	d.changed.settle()
	return diskFault(err)
}

// view runs f in a transaction that reads: all of it sees the same state.
func (d *database) view(f func(txn) error) error {
	d.views <- struct{}{}
	defer func() { <-d.views }()
	return diskFault(d.transact(d.reader, f))
}

func (d *database) transact(pool *sql.DB, f func(txn) error) error {
	tx, err := pool.Begin()
	if err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	defer tx.Rollback() // does nothing after Commit
	if err := f(txn{d, pool, tx}); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("%w: %w", errUnsure, err)
	}
	return nil
}

func execute(r runner, query string, args ...any) (sql.Result, error) {
	s, err := r.stmt(query)
	if err != nil {
		return nil, err
	}
	return s.Exec(args...)
}

// queryRow scans the only row into columns.
func queryRow(r runner, columns []any, query string, args ...any) error {
	s, err := r.stmt(query)
	if err != nil {
		return err
	}
	return s.QueryRow(args...).Scan(columns...)
}

// queryAll gives every row to each.
func queryAll(r runner, each func(scanner) error, query string, args ...any) error {
	s, err := r.stmt(query)
	if err != nil {
		return err
	}
	rows, err := s.Query(args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
