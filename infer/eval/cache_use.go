package eval

import (
	"fmt"

	"edged/infer"
	"edged/offload"
	"edged/pinnedmem"
)

// CacheUse is what a cache took and moved while it was measured.
type CacheUse struct {
	Kept       string          `json:"kept"`        // "exact f16", "paged q8"
	FastBytes  int64           `json:"fast_bytes"`  // index, tails, working sets, tables, dense layers
	ExactBytes int64           `json:"exact_bytes"` // of an f16 cache of the same context
	Traffic    offload.Traffic `json:"traffic"`
}

// fastPurposes are what lies in the fast tier; page tables and choices too.
var fastPurposes = []pinnedmem.Purpose{pinnedmem.KVPages, pinnedmem.KVIndex, pinnedmem.KVTail, pinnedmem.KVHot, pinnedmem.PageTables}

// CacheUseOf reads an engine's figures.
func CacheUseOf(s infer.Status) *CacheUse {
	u := &CacheUse{Kept: s.Cache, ExactBytes: s.ExactBytes, Traffic: s.Traffic}
	for _, p := range fastPurposes {
		u.FastBytes += s.Memory[p]
	}
	return u
}

// FastShare is the fast tier as a share of an exact cache.
func (u *CacheUse) FastShare() float64 { return float64(u.FastBytes) / float64(u.ExactBytes) }

// MovedShare is the part of all cold bytes that a decode step brings.
func (u *CacheUse) MovedShare() float64 {
	if u.Traffic.ColdBytes == 0 {
		return 0
	}
	return float64(u.Traffic.Fetched+u.Traffic.Streamed) / float64(u.Traffic.ColdBytes)
}

func (u *CacheUse) String() string {
	s := fmt.Sprintf("cache %s, fast tier %.2f MB, %.2f %% of exact", u.Kept, float64(u.FastBytes)/1e6, 100*u.FastShare())
	if t := u.Traffic; t.ColdBytes > 0 {
		s += fmt.Sprintf("; a step attended to %.1f %% of the pages, held %.1f %% of them already, and moved %.2f %% of the cold bytes",
			100*float64(t.Chosen)/float64(t.Pages), 100*float64(t.Hits)/float64(max(t.Chosen, 1)), 100*u.MovedShare())
	}
	return s
}

// Use takes a row's figures from what a cache took and moved.
func (r *SweepRow) Use(u *CacheUse) {
	t := u.Traffic
	r.FastBytes, r.FastShare = u.FastBytes, u.FastShare()
	r.ColdBytes = t.ColdBytes / max(t.Steps, 1)
	r.MovedBytesPerTok = float64(t.Fetched+t.Streamed) / float64(max(t.Steps, 1))
	r.MovedShare = r.MovedBytesPerTok / float64(u.ExactBytes)
}
