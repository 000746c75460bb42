package cuda

import (
	"fmt"
	"math"

	"edged/cudakern/driver"
	"edged/infer/gguf"
	"edged/infer/graph"
)

// tileForm is how tiles of a type are named and sized; see tiles.cuh.
type tileForm struct {
	name  string
	span  int // inputs of a unit
	bytes int // of a unit: 16 rows
	input int // bytes of an input as products read it
}

var tileForms = map[gguf.Type]tileForm{
	gguf.Q4_K: {"q4k", 256, 2368, 3},
	gguf.Q5_K: {"q5k", 256, 2880, 3},
	gguf.Q6_K: {"q6k", 256, 3392, 3},
	gguf.Q8_0: {"q8", 256, 4352, 3},
	gguf.F16:  {"f16", 64, 2048, 4},
}

// tileRows is the rows of a tile.
const tileRows = 16

// weight is a weight on the device, in the forms that ops want.
type weight struct {
	*graph.Weight
	form   tileForm
	tiled  driver.Ptr // where multiplied with, and of a type with tiles
	raw    driver.Ptr // as in the file: multiplied with, or embedded from
	vector driver.Ptr // [K] float32
	values []float32  // what vector will hold

	multiplied, embedded, isVector bool
}

func (w *weight) units() int { return ceil(w.K, w.form.span) }
func (w *weight) tiles() int { return ceil(w.N, tileRows) }

func (w *weight) tileBytes() int64 {
	return int64(w.tiles()) * int64(w.units()) * int64(w.form.bytes)
}

func (w *weight) hasTiles() bool { return w.form.name != "" }

// inTiles are the tiles' bytes, for checks of launches. Products read them early.
func (w *weight) inTiles() span {
	return span{name: w.Name, at: w.tiled, bytes: w.tileBytes(), early: true}
}

func (w *weight) inRaw() span { return span{name: w.Name, at: w.raw, bytes: int64(len(w.Data))} }

func (w *weight) inVector() span { return span{name: w.Name, at: w.vector, bytes: int64(w.K) * 4} }

// planWeights notes how ops read each weight, and plans its memory.
func (e *exec) planWeights() error {
	e.weights = make([]weight, len(e.prog.Weights))
	for i := range e.weights {
		e.weights[i].Weight = &e.prog.Weights[i]
	}
	for _, op := range e.prog.Ops {
		e.noteUses(op)
	}
	for i := range e.weights {
		if err := e.planWeight(&e.weights[i]); err != nil {
			return fmt.Errorf("load weight %s: %w", e.weights[i].Name, err)
		}
	}
	return nil
}

func (e *exec) noteUses(op graph.Op) {
	vector := func(ids ...graph.WeightID) {
		for _, id := range ids {
			if id != graph.NoWeight {
				e.weights[id].isVector = true
			}
		}
	}
	switch o := op.(type) {
	case graph.Embed:
		e.weights[o.Table].embedded = true
	case graph.RMSNorm:
		vector(o.W)
	case graph.AddRMSNorm:
		vector(o.W)
	case graph.HeadNorm:
		vector(o.W)
	case graph.GatedLinear:
		e.weights[o.Gate].multiplied, e.weights[o.Up].multiplied = true, true
	case graph.Linear:
		for _, p := range o.Parts {
			e.weights[p.W].multiplied = true
			vector(p.Bias)
		}
	}
}

func (e *exec) planWeight(w *weight) error {
	if w.N > math.MaxInt32-tileRows || w.K > math.MaxInt32-tileRows {
		return fmt.Errorf("[%d,%d] is too large: at most %d rows and columns", w.N, w.K, math.MaxInt32-tileRows)
	}
	if b := w.Type.BlockElems(); b == 0 || w.K%b != 0 {
		return fmt.Errorf("%w: rows of %d are not whole blocks of type %s", ErrUnsupported, w.K, w.Type)
	}
	if want := w.N * w.Type.RowBytes(w.K); len(w.Data) != want {
		return fmt.Errorf("%d bytes do not hold [%d,%d] of %s, %d bytes", len(w.Data), w.N, w.K, w.Type, want)
	}
	if (w.multiplied || w.embedded) && w.K%8 != 0 {
		return fmt.Errorf("%w: rows of %d of type %s are not whole groups of 8", ErrUnsupported, w.K, w.Type)
	}
	if w.multiplied {
		if w.form = tileForms[w.Type]; w.hasTiles() && !e.fitsShared(w) {
			w.form = tileForm{} // too wide: as it is, then
		}
		if w.hasTiles() {
			e.weightMem.want(&w.tiled, w.tileBytes())
		}
	}
	if w.embedded || w.multiplied && !w.hasTiles() {
		e.weightMem.want(&w.raw, int64(len(w.Data)))
	}
	if w.isVector {
		w.values = make([]float32, w.N*w.K)
		if err := w.Type.Dequantize(w.values, w.Data); err != nil {
			return err
		}
		e.weightMem.want(&w.vector, int64(len(w.values))*4)
	}
	return nil
}
