package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTablesBecomeParagraphs(t *testing.T) {
	got := configPage("a\n| key | default | meaning |\n|---|---|---|\n| `x.y` | 1 | why |\n| z | | b |\nend\n```\n| no | table |\n```\n")
	want := manHead + "a\n**x.y**\n\n- default: 1\n- meaning: why\n\n**z**\n\n- meaning: b\n\nend\n```\n| no | table |\n```\n"
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
