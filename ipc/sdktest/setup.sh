#!/bin/sh
# Installs the pinned Python and Node SDKs into a directory, for the tests of
# this package:
#
#	sh ipc/sdktest/setup.sh DIR
#	EDGED_SDK_TESTS=1 EDGED_SDK_DIR=DIR go test ./ipc/sdktest
#
# Needs python3 (3.10 or later) with venv, and npm with Node 18.17 or later.
# A directory that is already up to date is left as it is.
set -eu

if [ $# -ne 1 ]; then
	echo "usage: $0 DIR" >&2
	exit 2
fi
src=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
dir=$(cd "$1" && pwd)

if ! cmp -s "$src/python/requirements.txt" "$dir/python/installed.txt"; then
	python3 -m venv --clear "$dir/python"
	"$dir/python/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$src/python/requirements.txt"
	"$dir/python/bin/pip" check --disable-pip-version-check
	cp "$src/python/requirements.txt" "$dir/python/installed.txt"
fi

if ! cmp -s "$src/node/package-lock.json" "$dir/node/installed.json"; then
	mkdir -p "$dir/node"
	cp "$src/node/package.json" "$src/node/package-lock.json" "$dir/node/"
	(cd "$dir/node" && npm ci --no-fund --no-audit --ignore-scripts --loglevel=error)
	cp "$src/node/package-lock.json" "$dir/node/installed.json"
fi
