package main

import (
	"fmt"
	"strings"
)

// manHead makes a document a page of section 5.
const manHead = `% "EDGED-CONFIG" "5" "" "edged" "edged"

# NAME

edged-config - configuration file and service of edged

`

// configPage is docs/CONFIG.md as the source of a manual page: tables, whose cells
// are too long for a terminal, become a paragraph per row.
func configPage(document string) string {
	var b strings.Builder
	b.WriteString(manHead)
	var heads []string // of the table that is being read
	fenced := false
	for line := range strings.Lines(document) {
		line = strings.TrimRight(line, "\n")
		fenced = fenced != strings.HasPrefix(line, "```")
		switch {
		case fenced || !strings.HasPrefix(line, "|"):
			heads = nil
			b.WriteString(line + "\n")
		case strings.HasPrefix(line, "|--"):
		case heads == nil:
			heads = cells(line)
		default:
			row := cells(line)
			fmt.Fprintf(&b, "**%s**\n\n", strings.ReplaceAll(row[0], "`", ""))
			for i, c := range row[1:] {
				if c != "" && i+1 < len(heads) {
					fmt.Fprintf(&b, "- %s: %s\n", heads[i+1], c)
				}
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

// cells splits a table's row.
func cells(row string) []string {
	parts := strings.Split(strings.Trim(row, "|"), "|")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}
