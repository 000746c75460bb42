package infer

import (
	"fmt"
	"sort"

	"edged/offload"
	"edged/pinnedmem"
)

// MinContext is the shortest context that a model is served with, in tokens:
// room for a short question and its answer.
const MinContext = 16

// kvPlan computes what a KV pool costs.
type kvPlan struct {
	layers []offload.LayerSpec
	elem   offload.Elem
	slots  int // sequences
}

// bytes is the size of a pool for nTok tokens whose sequences hold up to
// context tokens.
func (p kvPlan) bytes(context, nTok int) (int64, error) {
	return p.pool(context, nTok).Bytes()
}

func (p kvPlan) pool(context, nTok int) offload.Config {
	return offload.Config{Layers: p.layers, Elem: p.elem, Context: context, Tokens: nTok, MaxSeqs: p.slots}
}

// context is the longest context up to want that the budget carries beside
// used bytes. Unless shorter is allowed, anything below want is an error.
func (p kvPlan) context(want int, shorter bool, budget, used int64) (int, error) {
	full, err := p.bytes(want, want)
	if err != nil {
		return 0, err
	}
	if want < MinContext {
		return 0, fmt.Errorf("a context of %d tokens is too short, the least is %d", want, MinContext)
	}
	if used+full <= budget {
		return want, nil
	}
	pages := sort.Search(want/offload.PageTok+1, func(i int) bool {
		n, _ := p.bytes(i*offload.PageTok, i*offload.PageTok)
		return used+n > budget
	}) - 1
	if n := pages * offload.PageTok; shorter && n >= MinContext {
		return n, nil
	}
	return 0, fmt.Errorf("a context of %d tokens needs %d bytes of KV cache beside %d bytes of weights and activations: %w of %d bytes", want, full, used, pinnedmem.ErrBudget, budget)
}

// cacheTok is the number of tokens that the pool is made for.
func (p kvPlan) cacheTok(want, context int, budget, used int64) (int, error) {
	if want == 0 {
		n := 2 * context
		for n > context {
			if b, err := p.bytes(context, n); err == nil && used+b <= budget {
				break
			}
			n -= offload.PageTok
		}
		return max(n, context), nil
	}
	if want < context {
		return 0, fmt.Errorf("a KV cache of %d tokens is smaller than the context of %d", want, context)
	}
	b, err := p.bytes(context, want)
	if err != nil {
		return 0, err
	}
	if used+b > budget {
		return 0, fmt.Errorf("a KV cache of %d tokens needs %d bytes beside %d bytes of weights and activations: %w of %d bytes", want, b, used, pinnedmem.ErrBudget, budget)
	}
	return want, nil
}
