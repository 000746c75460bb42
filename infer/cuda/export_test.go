package cuda

import (
	"edged/infer/graph"
	"edged/offload"
)

// Keeps says whether a cache layer of that plan is supported, whatever the
// context.
func (b *Backend) Keeps(p offload.LayerPlan) bool {
	e := &exec{backend: b, lim: graph.Limits{Context: 1}}
	return e.refuses(p) == ""
}
