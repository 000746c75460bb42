package daemon

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"edged/store"
)

// openSessions opens the folder of sessions, nil when none are kept. What trying
// again cannot heal is a ConfigError.
func openSessions(ctx context.Context, c Store, credentials string) (*store.Store, error) {
	if !c.Enabled {
		return nil, nil
	}
	if !filepath.IsAbs(c.Dir) {
		return nil, &ConfigError{fmt.Errorf("open store: the folder %q is not absolute, as no home folder is known; set store.dir", c.Dir)}
	}
	opt := store.Options{Dir: c.Dir, Budget: int64(c.Budget)}
	if c.KeyCredential != "" {
		var err error
		if opt.Key, err = readKey(credentials, c.KeyCredential); err != nil {
			return nil, &ConfigError{fmt.Errorf("open store %s: store.key_credential: %w", c.Dir, err)}
		}
	}
	s, err := openFree(ctx, opt)
	if err != nil {
		return nil, explainOpen(err)
	}
	return s, nil
}

// A process that was killed holds its lock until the kernel has taken it apart,
// which a daemon that is started at once can see.
const (
	lockPatience = 2 * time.Second
	lockPoll     = 20 * time.Millisecond
)

// openFree opens a store, and waits a moment for a process that is ending.
func openFree(ctx context.Context, opt store.Options) (*store.Store, error) {
	var locked *store.LockedError
	for end := time.Now().Add(lockPatience); ; {
		s, err := store.Open(ctx, opt)
		if !errors.As(err, &locked) || time.Now().After(end) {
			return s, err
		}
		select {
		case <-time.After(lockPoll):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// explainOpen adds to an error of store.Open, which names the folder, what can
// be done about it.
func explainOpen(err error) error {
	var locked *store.LockedError
	if errors.As(err, &locked) { // heals when the other ends
		return fmt.Errorf("%w; stop that process, or give this daemon a store.dir of its own (store.enabled = false does without sessions)", err)
	}
	for _, r := range []struct {
		is     error
		remedy string
	}{
		{store.ErrKey, "set store.key_credential to the credential of this store, or store.dir to another folder"},
		{store.ErrNewer, "run that version, or set store.dir to another folder"},
		{store.ErrCorrupt, "put a backup in its place, or set store.dir to another folder"},
		{store.ErrIndexLost, "put index.db back from a backup (index.db-wal must be of the same one, or not there), or move the files of chunks/ away to begin anew"},
		{store.ErrFolder, "correct that, or set store.dir to another one"},
		{store.ErrInvalid, "correct the folder, or set store.dir to another one"},
		{fs.ErrPermission, "make the folder writable for this user, or set store.dir to one that is (store.enabled = false does without sessions)"},
		{syscall.EROFS, "set store.dir to a folder that can be written (store.enabled = false does without sessions)"},
		{syscall.ENOTDIR, "set store.dir to a folder"},
	} {
		if errors.Is(err, r.is) {
			return &ConfigError{fmt.Errorf("%w; %s", err, r.remedy)}
		}
	}
	return err
}

func closeSessions(s *store.Store) error {
	if s == nil {
		return nil
	}
	if err := s.Close(); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// readKey reads a key of store.KeyBytes from a system credential, which holds
// the bytes themselves or twice as many hexadecimal digits.
func readKey(dir, name string) ([]byte, error) {
	if dir == "" {
		return nil, fmt.Errorf("no credentials were passed ($CREDENTIALS_DIRECTORY is not set); the unit needs LoadCredentialEncrypted=%s", name)
	}
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("read credential: %w", err)
	}
	defer f.Close()
	const most = 2*store.KeyBytes + 2 // digits and an end of line
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, fmt.Errorf("read credential %s: %w", name, err)
	}
	if len(b) == store.KeyBytes {
		return b, nil
	}
	key, err := hex.DecodeString(strings.TrimRight(string(b), "\r\n"))
	if err != nil || len(key) != store.KeyBytes {
		size := fmt.Sprintf("%d bytes", len(b))
		if len(b) > most {
			size = fmt.Sprintf("more than %d bytes", most)
		}
		return nil, fmt.Errorf("credential %s must hold %d bytes or %d hexadecimal digits, it has %s", name, store.KeyBytes, 2*store.KeyBytes, size)
	}
	return key, nil
}
