package cudakern

import (
	"maps"

	"edged/cudakern/driver"
)

// The parameters of the kernels that keep and read records.
type (
	// Attend: splits by KV heads' tiles by rows.
	Attend struct {
		Q, Dst, Units, Table, Tails, Exact, Sets, Chosen, Sources, Traffic, Step, Seqs, Pos, Seq, Partial, Tickets driver.Ptr
		UnitBytes, PageBytes                                                                                       uint64
		TableStride, ExactStride, Heads, KVHeads, Budget, Group, KBits, VBits, Slots, Most, Looks, Layer, Layers   uint32
		Scale                                                                                                      float32
	}
	// StoreRecords: KV heads by blocks by sequences.
	StoreRecords struct {
		Pages, Exact, Units, Table, Indexes, Queries, Peaks, Seqs                       driver.Ptr
		PageBytes, UnitBytes                                                            uint64
		ExactStride, TableStride, KVHeads, Dim, RecordBytes, KRows, Group, KBits, VBits uint32
	}
	// Scan: any number of blocks by KV heads' tiles by rows.
	Scan struct {
		Q, Indexes, Table, Seqs, Seq, Top, Sums, Sets, Chosen, Arrived             driver.Ptr
		TableStride, Heads, KVHeads, Dim, Budget, MaxPages, KBits, VBits, ByRecord uint32
		Scale                                                                      float32
	}
	// ChoosePages: KV heads by rows.
	ChoosePages struct {
		Top, Sums, Chosen, Sources, Arrived, Sets, Units, Table, Seqs, Seq, Traffic                      driver.Ptr
		UnitBytes                                                                                        uint64
		TableStride, Heads, KVHeads, Budget, Exchange, MaxPages, RecordBytes, ByRecord, Fetches, Scanned uint32
		Gain                                                                                             float32
	}
	// ScoreTokens: any number of blocks by KV heads by rows.
	ScoreTokens struct {
		Q, Peaks, Units, Table, Seqs, Seq, Keys, Traffic                                        driver.Ptr
		UnitBytes                                                                               uint64
		TableStride, Heads, KVHeads, Dim, RecordBytes, Group, Budget, Channels, Sink, MaxTokens uint32
	}
	// ChooseTokens: KV heads by rows.
	ChooseTokens struct {
		Keys, Chosen, Seqs, Seq, Traffic           driver.Ptr
		KVHeads, Dim, Budget, MaxTokens, ListWords uint32
	}
	// FetchTokens: pages of the budget by KV heads by rows.
	FetchTokens struct {
		Units, Table, Chosen, Seqs, Seq, Work, Traffic                  driver.Ptr
		UnitBytes, PageBytes, WorkBytes                                 uint64
		TableStride, KVHeads, Dim, RecordBytes, KRows, Group, ListWords uint32
	}
	// AttendGathered: blocks that share a row's splits by KV heads' tiles by rows.
	AttendGathered struct {
		Q, Dst, Work, Tails, Exact, Seqs, Pos, Seq, Partial, Tickets driver.Ptr
		PageBytes, WorkBytes                                         uint64
		ExactStride, Heads, KVHeads, Budget, Most                    uint32
		Scale                                                        float32
	}
	// UnpackRecords: pages by KV heads.
	UnpackRecords struct {
		Units, Table, Pages                            driver.Ptr
		UnitBytes, PageBytes                           uint64
		KVHeads, Dim, RecordBytes, Group, KBits, VBits uint32
	}
	// MoveBytes: any number of blocks.
	MoveBytes struct {
		Src, Dst driver.Ptr
		Bytes    uint64
	}
)

// addCacheParams adds the kernels of records to those of Params.
func addCacheParams(p map[string]any) {
	maps.Copy(p, map[string]any{"store_records": StoreRecords{}, "choose_pages": ChoosePages{}, "unpack_records": UnpackRecords{}, "move_bytes": MoveBytes{},
		"score_tokens": ScoreTokens{}, "choose_tokens": ChooseTokens{}, "fetch_tokens": FetchTokens{}})
	for _, d := range []string{"64", "80", "96", "128", "256"} {
		p["attend_"+d], p["attend_held_"+d], p["attend_gathered_"+d] = Attend{}, Attend{}, AttendGathered{}
	}
	for _, v := range []string{"1", "2", "4"} {
		p["scan_"+v+"_1"], p["scan_"+v+"_2"] = Scan{}, Scan{}
	}
}
