package cuda

import (
	"fmt"
	"slices"

	"edged/offload"
)

// checkPlans refuses cache layers that no kernel here reads.
func (e *exec) checkPlans() error {
	for i, p := range e.lim.KV {
		if why := e.refuses(p); why != "" {
			return fmt.Errorf("%w: cache layer %d: %s", ErrUnsupported, i, why)
		}
	}
	return nil
}

// refuses names what of a plan has no kernel here; empty for a plan that has.
func (e *exec) refuses(p offload.LayerPlan) string {
	switch {
	case !slices.Contains(headDims, p.HeadDim):
		return fmt.Sprintf("heads of %d channels; kernels exist for %v", p.HeadDim, headDims)
	case !p.Class.Stored() && p.Elem != offload.F16:
		return fmt.Sprintf("%s pages of %s; only those of f16 are", p.Class, p.Elem)
	case p.Estimate:
		return "an estimate of pages that were not chosen (option estimate)"
	case p.Group > mostGroup:
		return fmt.Sprintf("records of %d tokens; at most %d", p.Group, mostGroup)
	}
	most := e.backend.info.SharedBytes - choiceStatic
	if n := e.choiceShared(p); p.Class == offload.Paged && n > most {
		return fmt.Sprintf("a choice of %d among %d pages needs %d bytes of shared memory, there are %d", p.Budget, e.coldPages(), n, most)
	}
	return ""
}

// mostGroup is the largest group of tokens that store_records has room for.
const mostGroup = 64

// choiceStatic is at least what choose_pages takes beside its dynamic shared memory.
const choiceStatic = 8 << 10

// coldPages is the cold pages of a sequence, rounded up to what kernels keep of
// them: whole words of bits.
func (e *exec) coldPages() int { return ceil(e.lim.Context, 32*offload.ColdTok) * 32 }

// choiceShared is the shared memory of choose_pages.
func (e *exec) choiceShared(p offload.LayerPlan) int {
	n := e.coldPages()
	return 4*n + 8*n/32*4 + 4*(9*p.Budget+2)
}

// keptRows is the most rows of a step that reads records: one of each sequence.
func (e *exec) keptRows() int { return min(e.lim.MaxRows, e.lim.MaxSeqs) }

// layerMajor says whether prompts are read layer by layer.
func (e *exec) layerMajor() bool {
	return slices.ContainsFunc(e.lim.KV, func(p offload.LayerPlan) bool { return p.Class != offload.Exact })
}
