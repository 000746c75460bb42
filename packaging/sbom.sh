#!/bin/bash
# Prints the modules of a built edged as a bill of materials (CycloneDX 1.5).
# Usage: sbom.sh BINARY
set -euo pipefail
go version -m "$1" | awk -F'\t' '
$2 == "dep" {
	rows[n++] = sprintf("    {\"type\": \"library\", \"name\": \"%s\", \"version\": \"%s\", \"purl\": \"pkg:golang/%s@%s\"}", $3, $4, $3, $4)
}
END {
	if (!n) exit 1
	print "{\n  \"bomFormat\": \"CycloneDX\",\n  \"specVersion\": \"1.5\",\n  \"components\": ["
	for (i = 0; i < n; i++) print rows[i] (i < n-1 ? "," : "")
	print "  ]\n}"
}'
