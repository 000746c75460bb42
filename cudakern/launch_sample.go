package cudakern

import (
	"maps"

	"edged/cudakern/driver"
)

// The parameters of the kernels that narrow rows of logits.
type (
	// SampleMask: a thread per token, by rows.
	SampleMask struct {
		Logits, Asks, Masks, Work driver.Ptr
		Vocab, MaskWords          uint32
	}
	// SampleEdit: a block per row.
	SampleEdit struct {
		Asks, Edits, Work driver.Ptr
		Vocab, Most       uint32
	}
	// SampleTops: 64 blocks by rows.
	SampleTops struct {
		Logits, Asks, Tops driver.Ptr
		Vocab              uint32
	}
	// SamplePick: a block per row.
	SamplePick struct {
		Logits, Tops, Asks, Out driver.Ptr
		Vocab                   uint32
	}
	// SampleSums: blocks of 512 tokens, by rows.
	SampleSums struct {
		Logits, Asks, Out, Steps, Sums driver.Ptr
		Vocab                          uint32
	}
	// SampleDraw: a block per row; Blocks are those of SampleSums.
	SampleDraw struct {
		Logits, Asks, Steps, Sums, Out driver.Ptr
		Vocab, Blocks                  uint32
	}
)

// addSampleParams adds the kernels that narrow logits to those of Params.
func addSampleParams(p map[string]any) {
	maps.Copy(p, map[string]any{
		"sample_mask": SampleMask{}, "sample_edit": SampleEdit{}, "sample_tops": SampleTops{}, "sample_pick": SamplePick{}, "sample_sums": SampleSums{}, "sample_draw": SampleDraw{},
	})
}
