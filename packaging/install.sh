#!/bin/sh
# Puts a built edged and all that belongs to it under DESTDIR/PREFIX.
# Usage: install.sh BINARY DESTDIR PREFIX [RUNNABLE]
# RUNNABLE writes manual and completions where BINARY is of another architecture.
set -eu
binary=$1 dest=$2 prefix=$3 run=${4:-$1}
root=$(cd "$(dirname "$0")/.." && pwd)
to=$dest$prefix

# unit FILE FOLDER: systemd looks for a unit's programs where they are installed.
unit() {
	install -d "$2"
	sed -e "s|/usr/bin/env PATH=%h/.local/bin:/usr/local/bin:/usr/bin edged|$prefix/bin/edged|" \
		-e "s|/usr/bin/edged|$prefix/bin/edged|" "$root/systemd/$1" >"$2/$(basename "$1")"
	chmod 0644 "$2/$(basename "$1")"
}

install -D -m 0755 "$binary" "$to/bin/edged"
unit edged.service "$to/lib/systemd/system"
unit edged.socket "$to/lib/systemd/system"
unit edged-tcp.socket "$to/lib/systemd/system"
user=$to/share/systemd/user
[ "$prefix" != /usr ] || user=$to/lib/systemd/user
unit user/edged.service "$user"
unit user/edged.socket "$user"
install -D -m 0644 "$root/systemd/sysusers.conf" "$to/lib/sysusers.d/edged.conf"
install -D -m 0644 "$root/systemd/tmpfiles.conf" "$to/lib/tmpfiles.d/edged.conf"

install -d "$to/share/man/man1" "$to/share/man/man5"
"$run" man "$to/share/man"
gzip -9nf "$to"/share/man/man?/edged*.?
complete() { # SHELL FILE
	install -d "$(dirname "$2")"
	"$run" completion "$1" >"$2"
	chmod 0644 "$2"
}
complete bash "$to/share/bash-completion/completions/edged"
complete fish "$to/share/fish/vendor_completions.d/edged.fish"
zsh=$to/share/zsh/site-functions
[ "$prefix" != /usr ] || zsh=$to/share/zsh/vendor-completions # Debian's place
complete zsh "$zsh/_edged"
