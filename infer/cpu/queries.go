package cpu

import "edged/infer/graph"

// Queries is the query [heads*headDim] of a row of the last Part, as the
// layer's attention used it, valid until the next call: for calibration.
func (e *exec) Queries(layer, row int) []float32 {
	for _, op := range e.prog.Ops {
		if o, ok := op.(graph.Attend); ok && o.Layer == layer {
			ld := int(e.buffers[o.Q].ld)
			return e.data[o.Q][row*ld : row*ld+e.prog.Buffers[o.Q].Width]
		}
	}
	return nil
}
