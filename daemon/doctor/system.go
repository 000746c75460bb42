package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func config(_ context.Context, m Machine) []Finding {
	if errors.Is(m.ConfigErr, fs.ErrNotExist) {
		return one("config", Problem, "name a file that is there", "%v", m.ConfigErr)
	}
	if m.ConfigErr != nil {
		return one("config", Problem, "mend the lines; `edged config check` looks again", "%v", m.ConfigErr)
	}
	if _, err := os.Stat(m.Config); errors.Is(err, fs.ErrNotExist) {
		return one("config", Note, "", "%s does not exist, all settings are defaults", m.Config)
	}
	return one("config", OK, "", "%s can be used", m.Config)
}

func models(ctx context.Context, m Machine) []Finding {
	if m.ConfigErr != nil {
		return nil // not known
	}
	if len(m.Models) == 0 {
		if state, _, err := m.Ask(ctx); err == nil && state == "ready" {
			return one("models", Note, "", "no model is configured; the daemon that runs was started with one")
		}
		return one("models", Problem, "`edged models pull NAME` fetches one, a [[model]] in the configuration names it", "no model is configured")
	}
	for _, path := range m.Models {
		f, err := os.Open(path)
		if err != nil {
			return one("models", Problem, "`edged models list` shows what is there; the daemon's user must be able to read it", "%v", err)
		}
		_ = f.Close() // nothing was written
	}
	return one("models", OK, "", "%d can be read", len(m.Models))
}

// slowFS are file systems on which sessions do not survive, or locks do not hold.
var slowFS = map[int64]string{0x01021994: "tmpfs, which a reboot empties", 0x6969: "NFS, on which locks and syncs may not hold", 0xff534d42: "CIFS, on which locks and syncs may not hold"}

func disk(_ context.Context, m Machine) []Finding {
	if m.StoreDir == "" {
		return one("disk", OK, "", "no sessions are kept (store.enabled is false)")
	}
	dir := nearest(m.StoreDir)
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return one("disk", Problem, "set store.dir to a folder of a disk", "%s: %v", dir, err)
	}
	free := int64(st.Bavail) * st.Bsize
	if kind, bad := slowFS[int64(st.Type)]; bad {
		return one("disk", Warning, "set store.dir to a folder of a local disk", "%s is on %s", dir, kind)
	}
	const advised = 1 << 30
	if free < advised {
		return one("disk", Warning, "make room, or set store.dir to another disk", "%s are free for sessions in %s, %s are advised", size(free), dir, size(advised))
	}
	return one("disk", OK, "", "%s are free for sessions in %s", size(free), dir)
}

// nearest is the folder, or the first one above it that exists.
func nearest(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

func storeFolder(_ context.Context, m Machine) []Finding {
	if m.StoreDir == "" {
		return nil
	}
	fi, err := os.Stat(m.StoreDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return one("store", OK, "", "%s will be made by the daemon", m.StoreDir)
	case errors.Is(err, fs.ErrPermission):
		return one("store", Note, "run `edged doctor` as the daemon's user or root to look into it", "%s belongs to another user", m.StoreDir)
	case err != nil:
		return one("store", Problem, "see that the disk is mounted", "%v", err)
	case !fi.IsDir():
		return one("store", Problem, "set store.dir to a folder", "%s is no folder", m.StoreDir)
	case fi.Mode().Perm()&0o077 != 0:
		return one("store", Problem, "chmod 700 "+m.StoreDir, "%s can be entered by others (mode %04o)", m.StoreDir, fi.Mode().Perm())
	}
	if m.StoreErr != nil {
		return one("store", Problem, "put index.db back from a backup, or move the files of chunks/ away to begin anew", "%s: %v", m.StoreDir, m.StoreErr)
	}
	return one("store", OK, "", "%s is private", m.StoreDir)
}

func socket(ctx context.Context, m Machine) []Finding {
	state, text, err := m.Ask(ctx)
	switch {
	case err == nil && state == "ready":
		return one("socket", OK, "", "a daemon answers on %s: %s", m.Socket, text)
	case err == nil && state == "loading":
		return one("socket", Note, "", "a daemon on %s is loading: %s", m.Socket, text)
	case err == nil:
		return one("socket", Problem, "read its log (journalctl -u edged)", "the daemon on %s is %s: %s", m.Socket, state, text)
	case errors.Is(err, fs.ErrPermission):
		return one("socket", Problem, "sudo adduser $USER edged, and log in again; socket.group and socket.allow_uids say who may connect", "%v", err)
	}
	return one("socket", Note, "systemctl start edged, systemctl --user start edged, or `edged serve`", "no daemon answers: %v", err)
}

func security(_ context.Context, m Machine) []Finding {
	out := []Finding{}
	switch m.read("sys/fs/selinux/enforce") {
	case "1":
		out = append(out, one("selinux", Note, "when the daemon is refused something, `ausearch -m AVC -c edged` tells, and audit2allow makes a rule", "SELinux enforces; there is no policy of edged's own")...)
	case "0":
		out = append(out, one("selinux", OK, "", "SELinux only records")...)
	}
	if profile := m.read("proc/self/attr/apparmor/current"); profile != "" && profile != "unconfined" {
		out = append(out, one("apparmor", Note, "when something is refused, `journalctl -k -g apparmor` tells", "this process runs under AppArmor's profile %s", profile)...)
	}
	if len(out) == 0 {
		out = one("security-modules", OK, "", "neither SELinux nor AppArmor confines this program")
	}
	return out
}

// builtAfter is before the first version of this program.
var builtAfter = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func clock(_ context.Context, m Machine) []Finding {
	if now := time.Now(); now.Before(builtAfter) {
		return one("clock", Warning, "timedatectl set-ntp true", "the clock says %s: sessions will carry wrong times", now.Format(time.DateOnly))
	}
	var t unix.Timex
	if state, err := unix.Adjtimex(&t); err == nil && (state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0) {
		return one("clock", Note, "timedatectl set-ntp true", "the clock is not kept in step with others")
	}
	return one("clock", OK, "", "the clock is kept in step")
}

func inotify(_ context.Context, m Machine) []Finding {
	n, err := strconv.Atoi(strings.TrimSpace(m.read("proc/sys/fs/inotify/max_user_instances")))
	if err != nil {
		return one("inotify", Warning, "send SIGHUP after changes of the configuration", "the kernel has no inotify: changes of the configuration are not noticed")
	}
	const few = 64 // desktops use up as many
	if n < few {
		return one("inotify", Warning, "sysctl fs.inotify.max_user_instances=512", "%d watchers may be made by a user, %d are advised", n, few)
	}
	return one("inotify", OK, "", "%d watchers may be made by a user", n)
}
