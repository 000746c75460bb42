package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"edged/store/chunk"
)

// CheckIndex fails with [ErrIndexLost] when a folder holds chunk files and no index, or
// an empty one. It changes nothing, and needs neither the lock nor the key. [Open]
// begins with it: to SQLite an empty file is a new database, whose log it deletes.
func CheckIndex(dir string) error {
	st, err := os.Stat(filepath.Join(dir, databaseFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return unlessNew(dir, "there is no "+databaseFile)
	case err != nil:
		return err
	case st.Size() == 0:
		return unlessNew(dir, databaseFile+" is empty")
	}
	return nil
}

// unlessNew fails when there are chunk files. An index that names a store is durable
// before the first of them is made, so that no crash leaves them alone.
func unlessNew(dir, state string) error {
	entries, err := os.ReadDir(filepath.Join(dir, chunk.Dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	n := 0
	for _, e := range entries {
		if _, _, ok := chunk.ParseName(e.Name()); ok {
			n++
		}
	}
	switch n {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("%w: %s, and %s/ holds 1 chunk file", ErrIndexLost, state, chunk.Dir)
	}
	return fmt.Errorf("%w: %s, and %s/ holds %d chunk files", ErrIndexLost, state, chunk.Dir, n)
}
