package client

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Discover is the socket of the daemon that a program should talk to: that of the
// variable EDGED_SOCKET, or else the first that is there of the user's own daemon's
// and the system's.
func Discover() string { return discover(os.Getenv, os.Getuid(), "/run") }

func discover(getenv func(string) string, uid int, run string) string {
	if path := getenv("EDGED_SOCKET"); path != "" {
		return path
	}
	system := filepath.Join(run, "edged", "edged.sock")
	if uid == 0 {
		return system
	}
	own := getenv("XDG_RUNTIME_DIR")
	if !filepath.IsAbs(own) { // to be ignored, as the XDG specification says
		own = filepath.Join(run, "user", fmt.Sprint(uid))
	}
	return FirstSocket(filepath.Join(own, "edged", "edged.sock"), system)
}

// FirstSocket is the first path at which there is a socket, or of which this user may
// not even see whether there is one; otherwise the first path.
func FirstSocket(paths ...string) string {
	for _, path := range paths {
		fi, err := os.Stat(path)
		if err == nil && fi.Mode()&os.ModeSocket != 0 || errors.Is(err, fs.ErrPermission) {
			return path
		}
	}
	return paths[0]
}
