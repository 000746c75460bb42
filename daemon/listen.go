package daemon

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"edged/ipc"
)

// defaultSocketMode is what ipc.Listen gives a socket.
const defaultSocketMode = 0o600

// listen takes over the sockets of a socket unit or binds the configured path.
func listen(s Socket) ([]net.Listener, error) {
	ls, err := inherited()
	if err != nil || len(ls) > 0 {
		return ls, err
	}
	// Only the folder's last part is made: a missing parent means that the
	// path is wrong or that there is no login session.
	if err := os.Mkdir(filepath.Dir(s.Path), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("make socket folder: %w; --socket or socket.path name another place, and a login session has $XDG_RUNTIME_DIR", err)
		}
		return nil, fmt.Errorf("make socket folder: %w", err)
	}
	l, err := ipc.Listen(s.Path)
	if errors.Is(err, ipc.ErrInUse) {
		return nil, fmt.Errorf("%w: %s", err, holder(s.Path))
	}
	if err != nil {
		return nil, err
	}
	if err := setAccess(s); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return []net.Listener{l}, nil
}

// setAccess gives a new socket file its group and mode: the group first, or
// another one would have the mode's rights for a moment.
func setAccess(s Socket) error {
	gid, err := groupID(s.Group)
	if err != nil {
		return err
	}
	if gid != nil {
		if err := os.Chown(s.Path, -1, int(*gid)); err != nil {
			return fmt.Errorf("give the socket to socket.group %s, which this user must be in: %w", s.Group, err)
		}
	}
	if s.Mode.Perm != defaultSocketMode {
		if err := os.Chmod(s.Path, s.Mode.Perm); err != nil {
			return fmt.Errorf("set socket mode: %w", err)
		}
	}
	return nil
}

// groupID finds a group by name or number; nil for "".
func groupID(group string) (*uint32, error) {
	if group == "" {
		return nil, nil
	}
	id, err := strconv.ParseUint(group, 10, 32)
	if err != nil {
		g, err := user.LookupGroup(group)
		if err != nil {
			return nil, &ConfigError{fmt.Errorf("find socket.group: %w; `groupadd --system %s` makes it", err, group)}
		}
		if id, err = strconv.ParseUint(g.Gid, 10, 32); err != nil {
			return nil, fmt.Errorf("read id of group %s: %w", group, err)
		}
	}
	gid := uint32(id)
	return &gid, nil
}

// inherited returns the listeners that a socket unit passed, nil without any.
// Streams only: what else there may be has no connections.
func inherited() ([]net.Listener, error) {
	ls, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("take over sockets of the service manager: %w", err)
	}
	for i, l := range ls {
		_, local := l.(*net.UnixListener)
		if _, tcp := l.(*net.TCPListener); !local && !tcp {
			closeAll(ls)
			return nil, fmt.Errorf("take over sockets of the service manager: socket %d of %d is neither a Unix stream socket nor a TCP socket", i+1, len(ls))
		}
	}
	return ls, nil
}

func closeAll(ls []net.Listener) {
	for _, l := range ls {
		if l != nil {
			_ = l.Close() // nothing was served on it
		}
	}
}

// holder describes the process that listens on a socket.
func holder(path string) string {
	const unknown = "its process could not be identified"
	c, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return unknown
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return unknown
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil || credErr != nil {
		return unknown
	}
	name := "process"
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cred.Pid)); err == nil {
		name = strings.TrimSpace(string(b))
	}
	return fmt.Sprintf("held by %s, process id %d of user id %d", name, cred.Pid, cred.Uid)
}
