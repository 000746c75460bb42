package offload

// StepBytes is what one decode step of one sequence reads, in bytes, all
// layers and KV heads together. A plan knows it without a model or a device.
type StepBytes struct {
	Exact    int64 // floats in the fast tier: pages, windows, tails
	Dense    int64 // records that are read where they lie, fast tier
	Index    int64 // what dominant pages are chosen by, fast tier
	Attended int64 // chosen records or rows, once they are in the fast tier
	Fetched  int64 // of them, those that cross the bus
	Sinks    int64 // rows of a sequence's first tokens, which cross the bus too
	Rows     int64 // of these two, rows of single tokens
	Streamed int64 // critical channels: over the bus, then read in the fast tier
	Cold     int64 // all records that could have been fetched
	Piece    int64 // the smallest piece of a fetch of pages; 0 without any
}

// Fast is what is read from the fast tier.
func (b StepBytes) Fast() int64 { return b.Exact + b.Dense + b.Index + b.Attended + b.Streamed }

// Bus is what crosses from the host tier to the fast one.
func (b StepBytes) Bus() int64 { return b.Fetched + b.Sinks + b.Streamed }

// Step counts a step at a length of n tokens, its own included: the first one
// after a prompt, which fills the working sets, or at most what a later one
// brings.
func (p *Plan) Step(n int, first bool) StepBytes {
	var b StepBytes
	n = min(n, p.Config.Context)
	for i := range p.Config.Layers {
		b.layer(p.Config.Layers[i], n, first)
	}
	return b
}

// layer adds one layer.
func (b *StepBytes) layer(l LayerPlan, n int, first bool) {
	pages, err := l.Pages()
	if err != nil {
		return // a plan has no such layer
	}
	if l.Window > 0 {
		n = min(n, l.Window)
	}
	if !l.Class.Stored() {
		b.Exact += int64(n) * int64(pages.TokenBytes())
		return
	}
	record, err := l.Record()
	if err != nil {
		return
	}
	stored := max(unitsFor(n-l.exactTok(), l.granule()), 0) * l.granule()
	b.Exact += int64(n-stored) * int64(pages.TokenBytes())
	records := int64(stored/l.Group) * int64(l.KVHeads) * int64(record.Once())
	switch l.Class {
	case Dense:
		b.Dense += records
	case Paged:
		b.Cold += records
		b.paged(l, stored/ColdTok, int64(record.Bytes), first)
	case Gathered:
		b.Cold += records
		b.gathered(l, stored)
	}
}

// paged: where every page is attended to, nothing is chosen.
func (b *StepBytes) paged(l LayerPlan, pages int, record int64, first bool) {
	if pages > l.Budget {
		b.Index += int64(unitsFor(pages, blockCold)) * int64(l.KVHeads) * int64(NewIndex(l.HeadDim, l.Estimate).Bytes)
	}
	chosen := min(pages, l.Budget)
	b.Attended += int64(chosen*l.KVHeads) * record
	if !first {
		chosen = min(chosen, l.Exchange)
	}
	b.Fetched += int64(chosen*l.KVHeads) * record
	b.piece(record)
}

// gathered: K and V rows of single tokens, after channels of all of them. The
// sink is gathered beside what was chosen; TailorKV has it on the GPU.
func (b *StepBytes) gathered(l LayerPlan, stored int) {
	const half = 2 // bytes of an f16
	heads, row := int64(l.KVHeads), int64(l.HeadDim)*half
	if stored > l.Budget {
		b.Streamed += int64(l.Channels) * half * int64(stored) * heads
	}
	rows := int64(min(stored, l.Budget))
	sink := min(int64(l.Sink), rows)
	b.Attended += rows * heads * 2 * row
	b.Fetched += (rows - sink) * heads * 2 * row
	b.Sinks += sink * heads * 2 * row
	b.Rows += rows * heads * 2 * row
}

func (b *StepBytes) piece(n int64) {
	if b.Piece == 0 || n < b.Piece {
		b.Piece = n
	}
}
