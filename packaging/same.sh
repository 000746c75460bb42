#!/bin/bash
# Compiles the package of HEAD twice, in clones at different places and without
# caches, and compares the bytes. It takes as long as compiling everything twice.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for place in a longer/path/to/b; do
	git clone -q . "$work/$place"
	GOCACHE=$work/cache make -s -C "$work/$place" deb >"$work/out" 2>&1 || { cat "$work/out" >&2; exit 1; }
	rm -rf "$work/cache" # the second one compiles anew
	sha256sum "$work/$place"/build/*.deb
	cp "$work/$place"/build/*.deb "$work/$(basename "$place").deb"
	rm -rf "${work:?}/$place"
done
cmp "$work/a.deb" "$work/b.deb"
