#!/bin/bash
# Makes a Debian package of a built edged.
# Usage: deb.sh BINARY VERSION ARCHITECTURE FOLDER [RUNNABLE]
# RUNNABLE writes manual and completions where BINARY is of another architecture.
# With $SOURCE_DATE_EPOCH set, the same input gives the same bytes.
set -euo pipefail
binary=$(realpath "$1") version=$2 arch=$3 out=$(realpath "$4") runnable=$(realpath "${5:-$1}")
root=$(cd "$(dirname "$0")/.." && pwd)
: "${SOURCE_DATE_EPOCH:=$(date +%s)}"
export SOURCE_DATE_EPOCH
# A package that is given to others carries the name of who made it.
maintainer=${DEB_MAINTAINER:-the authors of edged <edged@example.org>}
umask 022
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
deb=$root/packaging/debian

"$root/packaging/install.sh" "$binary" "$stage" /usr "$runnable"
install -D -m 0644 "$deb/config.toml" "$stage/etc/edged/config.toml"
install -d "$stage/usr/share/edged/models"
install -m 0644 "$root"/models/*.gguf "$stage/usr/share/edged/models/"
doc=$stage/usr/share/doc/edged
install -D -m 0644 "$deb/copyright" "$doc/copyright"
install -m 0644 "$root/README.md" "$root/docs/API.md" "$root/docs/STORE.md" "$doc/"
(cd "$root" && packaging/licences.sh) | gzip -9n >"$doc/modules.licences.gz"
"$root/packaging/sbom.sh" "$binary" >"$doc/modules.sbom.json"
{
	printf 'edged (%s) unstable; urgency=medium\n\n  * See README.md.\n\n' "$version"
	printf ' -- %s  %s\n' "$maintainer" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")"
} | gzip -9n >"$doc/changelog.gz"

install -d "$stage/DEBIAN"
install -m 0755 "$deb"/{postinst,prerm,postrm} "$stage/DEBIAN/"
echo /etc/edged/config.toml >"$stage/DEBIAN/conffiles"
glibc=$(readelf -VW "$binary" | grep -o 'GLIBC_2\.[0-9]*' | sort -uV | tail -1)
cat >"$stage/DEBIAN/control" <<END
Package: edged
Version: $version
Architecture: $arch
Maintainer: $maintainer
Installed-Size: $(du -sk --apparent-size "$stage" | cut -f1)
Depends: libc6 (>= ${glibc#GLIBC_}), systemd (>= 247)
Recommends: ca-certificates
Suggests: nvidia-persistenced
Section: science
Priority: optional
Description: resident language model for long documents
 edged keeps a GGUF language model resident and answers programs of the same
 machine over a Unix socket, with an OpenAI-compatible API. Conversations are
 kept: what has been read once is not read again, also after a reboot.
 .
 Members of the group edged may use the system's daemon. Each user may also run
 one: systemctl --user enable --now edged.
END
(cd "$stage" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
# Most of a package is a model, which nothing makes smaller: a high level only takes time.
find "$stage" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group -Zxz -z1 --build "$stage" "$out/edged_${version}_${arch}.deb" >&2
echo "$out/edged_${version}_${arch}.deb"
