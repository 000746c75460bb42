package ipc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxSocketPath is the longest path in bytes that fits sockaddr_un.sun_path
// with its final zero. The kernel cuts nothing: longer ones cannot be bound.
const maxSocketPath = 107

// ErrInUse means that another process answers on the socket.
var ErrInUse = errors.New("another process is listening on the socket")

// Listen binds a Unix socket of mode 0600. A socket file on which nobody listens
// is replaced; one that answers gives ErrInUse; any other file is left alone
// and refused.
//
// The listener removes the file when it is closed, unless somebody has put
// another one there. For socket activation, pass the inherited
// listener to Server.Serve instead: its file belongs to the service manager.
func Listen(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("socket path %q has %d bytes, but at most %d are possible", path, len(path), maxSocketPath)
	}
	if path == "" || path[0] == '@' {
		// Abstract sockets have no permissions: anybody could connect.
		return nil, fmt.Errorf("socket path %q is not a file path", path)
	}
	unlock, err := lockDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := removeStale(path); err != nil {
		return nil, err
	}
	return bind(path)
}

// lockDir keeps two daemons from both finding a stale socket, where the second
// would remove the socket that the first has just bound.
func lockDir(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open socket directory: %w", err)
	}
	const attempts, pause = 20, 50 * time.Millisecond
	for i := 0; ; i++ {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || i == attempts {
			f.Close()
			return nil, fmt.Errorf("lock socket directory %s: %w", dir, err)
		}
		time.Sleep(pause)
	}
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("check socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s exists and is not a socket", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		c.Close()
		return fmt.Errorf("listen on %s: %w", path, ErrInUse)
	case !errors.Is(err, syscall.ECONNREFUSED):
		// A full backlog or missing permission: somebody may well be there.
		return fmt.Errorf("check whether the socket is in use: %w", err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove stale socket: %w", err)
	}
	return nil
}

func bind(path string) (net.Listener, error) {
	// bind(2) gives the file the mode of the socket's own inode less the umask,
	// so that there is no moment at which others may connect.
	private := func(_, _ string, raw syscall.RawConn) error {
		var err error
		if ctlErr := raw.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); ctlErr != nil {
			return ctlErr
		}
		return err
	}
	lc := net.ListenConfig{Control: private}
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	ul := l.(*net.UnixListener)
	ul.SetUnlinkOnClose(false)
	info, err := os.Lstat(path)
	if err == nil && info.Mode().Perm() != 0o600 { // a umask that takes from the owner
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		ul.Close()
		return nil, fmt.Errorf("set socket mode: %w", err)
	}
	return &ownedListener{UnixListener: ul, path: path, info: info}, nil
}

// ownedListener removes its socket file, and only its own.
type ownedListener struct {
	*net.UnixListener
	path string
	info fs.FileInfo // as bound
}

// Close removes the file before it closes the socket: the other way round, it
// could remove the file of a successor.
func (l *ownedListener) Close() error {
	if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.info) {
		if err := os.Remove(l.path); err != nil {
			return errors.Join(fmt.Errorf("remove socket: %w", err), l.UnixListener.Close())
		}
	}
	return l.UnixListener.Close()
}
