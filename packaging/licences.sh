#!/bin/bash
# Prints the licences of all modules that are linked into edged.
set -euo pipefail
go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/edged | sort -u |
	while read -r path version dir; do
		files=$(find "$dir" -maxdepth 1 -type f \( -iname 'LICEN[CS]E*' -o -iname 'COPYING*' -o -iname 'NOTICE*' \) | sort)
		if [ -z "$files" ]; then
			echo "licences: $path $version has none" >&2
			exit 1
		fi
		for f in $files; do
			printf '==== %s %s: %s\n\n' "$path" "$version" "$(basename "$f")"
			cat "$f"
			echo
		done
	done
