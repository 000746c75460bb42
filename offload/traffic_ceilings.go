package offload

// Rate is what a gather of pieces of a size reaches over the bus.
type Rate struct {
	Piece  int64   // bytes
	Second float64 // bytes
}

// Ceilings is what a machine's memory and bus can do at best, bytes per
// second.
type Ceilings struct {
	Name   string
	Read   float64 // from the fast tier, by kernels
	Copy   float64 // from the host tier to the fast one, in large pieces
	Gather []Rate  // the same in small pieces, ascending; empty: as Copy
	Rows   float64 // the same in a layer's rows of single tokens, in their order; 0: as Copy
}

// H100 is bench/ceilings.cu on one H100 80GB HBM3 with PCIe gen5 x16, driver
// 580, CUDA 13.0, 2026-11-23: read-only, pinned h2d, and the best of the
// zero-copy gathers of each size, here and there in 16 GiB; rows are the best of
// docs/kernels/cuda-gather.md, 2026-11-26: in their order they come much faster.
func H100() Ceilings {
	return Ceilings{
		Name: "H100 80GB HBM3, PCIe gen5 x16, measured 2026-11-23", Read: 3071e9, Copy: 53.0e9,
		Gather: []Rate{{64, 2.22e9}, {128, 4.14e9}, {256, 7.81e9}, {512, 15.02e9}, {1024, 41.89e9}, {2048, 50.78e9}},
		Rows:   48.1e9,
	}
}

// gather is the rate of pieces of a size. Below the smallest measured one, the
// number of pieces is what counts.
func (c Ceilings) gather(piece int64) float64 {
	if len(c.Gather) == 0 {
		return c.Copy
	}
	rate := c.Gather[0].Second * min(1, float64(piece)/float64(c.Gather[0].Piece))
	for _, r := range c.Gather {
		if r.Piece <= piece {
			rate = r.Second
		}
	}
	return rate
}

// Floor is the least time of one step, milliseconds.
type Floor struct {
	Fast float64 // weights and cache in the fast tier, at its bandwidth
	Bus  float64 // what crosses the bus, at its bandwidth
}

// Step is the least time when the two overlap fully. Launches, arithmetic and
// the wait between choice and fetch come on top.
func (f Floor) Step() float64 { return max(f.Fast, f.Bus) }

// Floor predicts a step that reads so many bytes of weights beside the cache.
// A stream of channels is taken as a large copy, which only a layout with whole
// channels side by side can reach.
func (c Ceilings) Floor(weights int64, b StepBytes) Floor {
	const ms = 1e3
	f := Floor{Fast: ms * float64(weights+b.Fast()) / c.Read, Bus: ms * float64(b.Streamed) / c.Copy}
	if b.Piece > 0 {
		f.Bus += ms * float64(b.Fetched+b.Sinks-b.Rows) / c.gather(b.Piece)
	}
	rows := c.Rows
	if rows == 0 {
		rows = c.Copy
	}
	f.Bus += ms * float64(b.Rows) / rows
	return f
}
