package ipc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// peer is who has connected, as the kernel says. Its groups are those that the
// process had when it connected.
type peer struct {
	uid    uint32
	gids   []uint32
	client string // tells the user's programs apart
	tcp    *TCP   // nil: a Unix socket; the kernel says nothing of others
}

func (p peer) in(group uint32) bool { return slices.Contains(p.gids, group) }

// peerOfConn asks the kernel who connected.
func peerOfConn(c net.Conn) (peer, error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return peer{}, fmt.Errorf("connection of type %T has no credentials", c)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return peer{}, fmt.Errorf("get peer credentials: %w", err)
	}
	var p peer
	var optErr error
	if err := raw.Control(func(fd uintptr) { p, optErr = peerOfSocket(int(fd)) }); err != nil {
		return peer{}, fmt.Errorf("get peer credentials: %w", err)
	}
	return p, optErr
}

func peerOfSocket(fd int) (peer, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return peer{}, fmt.Errorf("get peer credentials: %w", err)
	}
	groups, err := peerGroups(fd)
	if err != nil {
		return peer{}, fmt.Errorf("get peer groups: %w", err)
	}
	return peer{uid: cred.Uid, gids: append(groups, cred.Gid), client: fmt.Sprintf("pid %d", cred.Pid)}, nil
}

// maxGroups is the most groups that the kernel lets a process have.
const maxGroups = 65536

// peerGroups are the supplementary groups. x/sys has no call for an option that is
// a list.
func peerGroups(fd int) ([]uint32, error) {
	buf := make([]byte, 4*64) // more groups than people have
	for {
		n := uint32(len(buf))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(unsafe.Pointer(&n)), 0)
		switch {
		case errors.Is(errno, unix.ERANGE) && n > uint32(len(buf)) && n <= 4*maxGroups:
			buf = make([]byte, n)
			continue
		case errno != 0:
			return nil, errno
		}
		var out []uint32
		for b := buf[:n]; len(b) >= 4; b = b[4:] {
			out = append(out, binary.NativeEndian.Uint32(b))
		}
		return out, nil
	}
}
