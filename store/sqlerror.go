package store

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/mattn/go-sqlite3"
)

// diskFault adds what the system has said to an error of SQLite about the disk, so that
// a full disk can be told from a defect, in the database as in files.
func diskFault(err error) error {
	var e sqlite3.Error
	if !errors.As(err, &e) {
		return err
	}
	errno := e.SystemErrno
	switch {
	case e.Code == sqlite3.ErrFull && errno == 0:
		errno = syscall.ENOSPC
	case e.Code == sqlite3.ErrIoErr && errno == 0:
		errno = syscall.EIO
	case e.Code != sqlite3.ErrFull && e.Code != sqlite3.ErrIoErr:
		return err
	}
	return fmt.Errorf("%w: %w", err, errno)
}
