package offload

import (
	"fmt"
	"strings"
)

// formatVersion changes when records, pages or indexes of the same sizes mean
// something else, or a snapshot's state does.
const formatVersion = 3

// Format says what the bytes of a snapshot mean: pools of equal formats can
// restore each other's. What only decides how much of a cache a step reads, such
// as the size of working sets, is no part of it: plans choose it by what memory
// is free.
func (p *Pool) Format() string {
	var b strings.Builder
	fmt.Fprintf(&b, "KV cache %d: pages of %d tokens, cold ones of %d, blocks of %d", formatVersion, PageTok, ColdTok, BlockTok)
	for from := 0; from < len(p.layers); {
		to := from + 1
		for to < len(p.layers) && p.layers[to].format() == p.layers[from].format() {
			to++
		}
		fmt.Fprintf(&b, "; layers %d-%d: %s", from, to-1, p.layers[from].format())
		from = to
	}
	return b.String()
}

func (l *layer) format() string {
	s := fmt.Sprintf("%s %s, %d heads of %d", l.Class, l.Elem, l.KVHeads, l.HeadDim)
	if l.Class == Window {
		s += fmt.Sprintf(", window %d", l.Window)
	}
	if l.Class != Exact {
		s += fmt.Sprintf(", tail %d", l.Tail)
	}
	if l.Class.Stored() {
		s += fmt.Sprintf(", groups of %d in %d bytes", l.Group, l.record.Bytes)
	}
	if l.Class == Paged {
		s += fmt.Sprintf(", index of %d bytes, codes %g deviations apart", l.index.Bytes, IndexStep)
	}
	return s
}
