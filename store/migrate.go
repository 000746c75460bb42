package store

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
)

// applicationID marks the database file: "edgd".
const applicationID = 0x65646764

//go:embed schema_1.sql
var schema1 string

// migrations[i] brings a database of version i to version i+1. Their text is
// never changed once it was released.
var migrations = []string{schema1}

// migrate brings a database to the newest version. Each step is one
// transaction, together with its check and the new version number: after a
// crash the step has happened or it has not.
func migrate(ctx context.Context, db *sql.DB, steps []string) error {
	version, err := checkVersion(ctx, db, len(steps))
	if err != nil {
		return err
	}
	for ; version < len(steps); version++ {
		if err := migrateStep(ctx, db, version, steps[version]); err != nil {
			return fmt.Errorf("migrate database from version %d: %w", version, err)
		}
	}
	return nil
}

// checkVersion refuses databases that are not ours to change.
func checkVersion(ctx context.Context, db *sql.DB, newest int) (version int, err error) {
	var id, tables int
	err = errors.Join(
		db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id),
		db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version),
		db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables))
	if err != nil {
		return 0, fmt.Errorf("read database version: %w", err)
	}
	if id != applicationID && (id != 0 || tables != 0) {
		return 0, fmt.Errorf("%w: the database belongs to another application (%#x)", ErrInvalid, id)
	}
	if version > newest {
		return 0, fmt.Errorf("%w: database has version %d, this program knows %d", ErrNewer, version, newest)
	}
	return version, nil
}

func migrateStep(ctx context.Context, db *sql.DB, version int, step string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	if _, err := tx.ExecContext(ctx, step); err != nil {
		return err
	}
	if err := foreignKeysHold(ctx, tx); err != nil {
		return err
	}
	// Pragmas take no parameters; both are numbers.
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, version+1)); err != nil {
		return err
	}
	return tx.Commit()
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// foreignKeysHold fails when a row refers to one that does not exist.
func foreignKeysHold(ctx context.Context, q querier) error {
	rows, err := q.QueryContext(ctx, "SELECT \"table\", parent FROM pragma_foreign_key_check LIMIT 1")
	if err != nil {
		return err
	}
	defer rows.Close()
	if rows.Next() {
		var table, parent string
		if err := rows.Scan(&table, &parent); err != nil {
			return err
		}
		return fmt.Errorf("%w: a row of %s refers to a row of %s that does not exist", ErrCorrupt, table, parent)
	}
	return rows.Err()
}

// pagesHold runs SQLite's own check of the file.
func pagesHold(ctx context.Context, q querier) error {
	rows, err := q.QueryContext(ctx, "PRAGMA integrity_check(5)")
	if err != nil {
		return err
	}
	defer rows.Close()
	var problems []error
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return err
		}
		if line != "ok" {
			problems = append(problems, fmt.Errorf("%w: database: %s", ErrCorrupt, line))
		}
	}
	return errors.Join(append(problems, rows.Err())...)
}
