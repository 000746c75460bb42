#!/bin/bash
# Makes the package, looks at it with lintian, and lives through its life in a fresh
# Debian 12: install, serve a member of the group, refuse a stranger, upgrade with
# a session, remove, purge; first by hand, then under systemd in a container
# (live.sh). Needs root, mmdebstrap, lintian and systemd-container.
# Usage: check.sh [BASE.tar], a root that an earlier run has left there.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "check.sh must be run as root" >&2; exit 1; }
work=$(mktemp -d)
root=$work/root
daemon=
cleanup() {
	[ -z "$daemon" ] || { kill "$daemon" 2>/dev/null && wait "$daemon" || true; }
	for m in proc dev; do mountpoint -q "$root/$m" && umount -R "$root/$m" || true; done
	! mountpoint -q "$root/dev" || return # nothing of this machine's is removed
	rm -rf "$work"
}
trap cleanup EXIT
step() { echo "== $*"; }
fail() { echo "check.sh: $*" >&2; exit 1; }
in_root() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
as() { # USER COMMAND...
	local user=$1
	shift
	chroot --userspec="$user" "$root" env -i PATH=/usr/bin:/bin HOME=/tmp LC_ALL=C.UTF-8 "$@"
}

step "two versions, the first one twice"
make -s deb-build
binary=build/deb/edged here=build/deb/edged-here
arch=$(dpkg --print-architecture)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
mkdir "$work/a" "$work/b"
readelf -hW "$binary" | grep -q 'DYN (Position-Independent' || fail "the program is not position-independent"
old=$(packaging/deb.sh "$binary" 0.0.1 "$arch" "$work/a" "$here" 2>/dev/null)
again=$(packaging/deb.sh "$binary" 0.0.1 "$arch" "$work/b" "$here" 2>/dev/null)
new=$(packaging/deb.sh "$binary" 0.0.2 "$arch" "$work/a" "$here" 2>/dev/null)
cmp "$old" "$again" || fail "the same input gives another package"
ls -l "$old" | awk '{print $5 " bytes"}'

step "lintian"
lintian --allow-root --fail-on error,warning --tag-display-limit 0 "$old"

step "a fresh Debian 12"
base=${1:-$work/base.tar}
[ -s "$base" ] || mmdebstrap --quiet --variant=apt --include=systemd,init-system-helpers bookworm "$base"
mkdir "$root"
tar -xf "$base" -C "$root" --exclude=./dev/*
mount --bind /proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --make-rslave "$root/dev"
cp "$old" "$new" docs/demo/document.txt "$root/tmp/"

step "install"
in_root dpkg -i "/tmp/$(basename "$old")" || fail "the package does not install with what a minimal system has"
in_root id edged
for unit in sockets.target.wants/edged.socket multi-user.target.wants/edged.service; do
	[ -L "$root/etc/systemd/system/$unit" ] || fail "$unit is not enabled"
done
verified=$(in_root systemd-analyze verify --man=no edged.service edged.socket edged-tcp.socket 2>&1 | grep -v 'ignoring: notify-reload$' || true)
[ -z "$verified" ] || fail "the units are not well: $verified"
in_root stat -c '%n %A %U:%G' /var/lib/edged /run/edged /etc/edged/config.toml
in_root test -s /usr/share/man/man1/edged.1.gz -a -s /usr/share/man/man5/edged-config.5.gz -a -s /usr/share/bash-completion/completions/edged
in_root useradd member -G edged
in_root useradd stranger

serve() { # as the unit does: its user, folders and umask
	(umask 077; exec chroot --userspec=edged:edged "$root" env -i PATH=/usr/bin RUNTIME_DIRECTORY=/run/edged STATE_DIRECTORY=/var/lib/edged \
		CONFIGURATION_DIRECTORY=/etc/edged edged serve) 2>>"$work/log" &
	daemon=$!
	for _ in $(seq 100); do
		[ -S "$root/run/edged/edged.sock" ] && return
		kill -0 "$daemon" 2>/dev/null || break
		sleep 0.1
	done
	cat "$work/log" >&2
	fail "the daemon did not start"
}
stop() { kill "$daemon"; wait "$daemon" || fail "the daemon did not end well"; daemon=; }
ask() { as member edged ask --temperature 0 --session book "$@"; }

step "serve"
serve
stat -c '%n %A %U:%G' "$root/run/edged/edged.sock"
answer=$(ask /tmp/document.txt "What is the access code of harbour-lantern?" 2>"$work/member") || { cat "$work/member" >&2; fail "a member is refused"; }
echo "member: $answer"
[ "$answer" = "The access code of harbour-lantern is 6433012." ] || fail "wrong answer"
if as stranger edged status 2>"$work/stranger"; then fail "a stranger is let in"; fi
grep -q 'no permission' "$work/stranger" || { cat "$work/stranger" >&2; fail "a stranger is not told why"; }
echo "stranger: $(head -1 "$work/stranger")"
in_root chmod 0755 /run/edged && in_root chmod 0666 /run/edged/edged.sock # permissions alone do not help
if as stranger edged status 2>"$work/stranger"; then fail "a stranger is let in"; fi
echo "stranger: $(head -1 "$work/stranger")"
as member edged status
as edged STATE_DIRECTORY=/var/lib/edged edged doctor --config /etc/edged/config.toml --socket /run/edged/edged.sock
stop

step "upgrade"
echo '# changed' >>"$root/etc/edged/config.toml"
in_root dpkg -i --force-confold "/tmp/$(basename "$new")"
grep -q '# changed' "$root/etc/edged/config.toml" || fail "the configuration was replaced"
serve
answer=$(ask "What is the access code of velvet-compass?" 2>"$work/member") || { cat "$work/member" >&2; fail "the session is gone"; }
echo "member: $answer"
tail -1 "$work/member"
[ "$answer" = "The access code of velvet-compass is 2579240." ] || fail "wrong answer after the upgrade"
grep -q 'restored from disk' "$work/member" || fail "the session was read anew"
stop

step "remove keeps, purge removes"
in_root dpkg -r edged
[ ! -e "$root/usr/bin/edged" ] || fail "remove leaves the program"
[ -s "$root/var/lib/edged/sessions/index.db" ] || { ls -R "$root/var/lib/edged" | head >&2; fail "remove took the sessions"; }
[ -e "$root/etc/edged/config.toml" ] || fail "remove took the configuration"
in_root dpkg -P edged
for left in /var/lib/edged /etc/edged /usr/share/edged /etc/systemd/system/sockets.target.wants/edged.socket; do
	[ ! -e "$root$left" ] && [ ! -L "$root$left" ] || fail "purge leaves $left"
done
step "the same under systemd"
umount -R "$root/dev" "$root/proc"
rm -rf "$root"
mkdir "$root"
tar -xf "$base" -C "$root"
packaging/live.sh "$root" "$old" "$new" || { cat "$root/live/journal" >&2; fail "the service does not live well"; }
echo "check.sh: all is well"
