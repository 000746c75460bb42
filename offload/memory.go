package offload

// Memory is where a layer's tokens lie, for backends. Slices that the layer's
// class does not use are nil. All stay valid until the pool is closed.
type Memory struct {
	Plan   LayerPlan
	Pages  Layout // of exact pages: units of Exact layers, tails, the stage
	Record Record // of Stored classes
	Index  Index  // of Paged layers

	// Units are pages (Exact) or blocks of BlockTok tokens:
	// [nUnit][BlockTok/Group][kvHeads] records.
	Units     []byte
	UnitBytes int
	Indexes   []byte // [nUnit][kvHeads] indexes of blocks
	Tails     []byte // [MaxSeqs] rings of Tail/PageTok pages; page p of a sequence is slot p % ring
	TailBytes int
	// Chosen is lists of uint32: of a Paged layer's working sets, [sets][kvHeads],
	// how many cold pages they hold, [Budget] their numbers, ascending, and
	// [Budget] their places in Sets, free ones last; of a Gathered layer,
	// [MaxSeqs][kvHeads], how many tokens were chosen and their positions,
	// ascending.
	Chosen      []byte
	ChosenBytes int
	Sets        []byte // [sets][kvHeads][Budget] records
	// Peaks is [MaxSeqs][kvHeads][headDim] float32, the largest |K| so far. It is
	// an upper bound once a sequence was cut or a prompt cancelled whose records
	// had been written: then channels may be streamed that no longer deserve it.
	Peaks []byte
}

// Memory describes a layer.
func (p *Pool) Memory(i int) Memory {
	l := &p.layers[i]
	return Memory{
		Plan: l.LayerPlan, Pages: l.pages, Record: l.record, Index: l.index,
		Units: l.units, UnitBytes: l.unitBytes, Indexes: l.idx, Tails: l.tails, TailBytes: l.tailBytes(),
		Chosen: l.chosen, ChosenBytes: l.chosenBytes(), Sets: l.sets, Peaks: l.peaks,
	}
}

// Work is one sequence's fast memory for what a layer gathered and streamed.
// Layers use it one after the other.
func (p *Pool) Work(slot int) []byte {
	if len(p.work) == 0 {
		return nil
	}
	return part(p.work, slot, len(p.work)/p.cfg.MaxSeqs)
}

// Works is that of all slots, one after the other: so many bytes each.
func (p *Pool) Works() (all []byte, slotBytes int) { return p.work, len(p.work) / p.cfg.MaxSeqs }

// Stage is the memory of the prompt that is being read: exact pages of one
// layer after the other.
func (p *Pool) Stage() []byte { return p.stage.pages }

// Pending is where the tails of the prompt that is being read wait for its end,
// all layers' and one's. A backend that stages in memory of its own writes there
// what [Seq.StageOut] would, and calls neither that nor [Seq.StageIn].
func (p *Pool) Pending(layer int) (all, tail []byte) {
	return p.stage.pending, p.pendingTail(&p.layers[layer])
}

// Traffic counts what decode steps chose and what crossed from the host tier
// to the fast one.
type Traffic struct {
	Steps     int64 // sequences' decode steps
	Pages     int64 // cold pages that could have been attended to, all layers and KV heads
	Chosen    int64 // those that were; of single tokens, the pages that they fill
	Hits      int64 // of them, those that were in the working set before the step
	Fetched   int64 // bytes of records or rows that were brought
	Streamed  int64 // bytes of critical channels
	Prompt    int64 // bytes of records that prompts attended to where they lie
	ColdBytes int64 // bytes of all records that could have been brought
}

// Add counts more traffic.
func (t *Traffic) Add(x Traffic) {
	t.Steps += x.Steps
	t.Pages += x.Pages
	t.Chosen += x.Chosen
	t.Hits += x.Hits
	t.Fetched += x.Fetched
	t.Streamed += x.Streamed
	t.Prompt += x.Prompt
	t.ColdBytes += x.ColdBytes
}

// Count adds a step's traffic to the pool's.
func (p *Pool) Count(t Traffic) { p.traffic.Add(t) }

// Traffic is the sum since the pool was made.
func (p *Pool) Traffic() Traffic { return p.traffic }

// Slot is the sequence's place in tails, choices and work memory.
func (s *Seq) Slot() int { return s.slot }

// Flush is the range of positions that a step, or the prompt that is being
// read, has to write as records before its end is committed; from == to when
// there is none.
func (s *Seq) Flush(end int) (from, to int) { return s.stored, s.storedAfter(end) }

// StageFrom is the position of the stage's first token for a layer that is not
// Exact.
func (s *Seq) StageFrom(layer int) int { return s.stageFrom(&s.pool.layers[layer]) }
