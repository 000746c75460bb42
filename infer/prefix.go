package infer

import (
	"slices"

	"edged/offload"
)

// Kept sequences are shortened in pieces of evictTok tokens, which are cheap
// to evaluate again, and taken over rather than forked when no more than that
// is lost.
const evictTok = 8 * offload.PageTok

// kept is the sequence of a finished task.
type kept struct {
	seq  *offload.Seq
	ids  []int32 // [seq.Len()] tokens
	used uint64  // owner.clock of the last use
}

// source is where a task's first n tokens are cached: in a kept sequence, or
// in that of a running task, when keep is nil.
type source struct {
	seq  *offload.Seq // nil when n is 0
	keep *kept
	n    int // tokens
}

// longestPrefix finds the sequence that shares the most tokens with ids. Of
// equals it prefers a kept one, which can be taken over.
func (o *owner) longestPrefix(ids []int32) source {
	var best source
	for _, k := range o.kept {
		if n := k.seq.Keepable(commonPrefix(k.ids, ids)); n > best.n {
			best = source{k.seq, k, n}
		}
	}
	for _, t := range o.running {
		if t.seq == nil {
			continue
		}
		if n := t.seq.Keepable(commonPrefix(t.ids[:t.seq.Len()], ids)); n > best.n {
			best = source{t.seq, nil, n}
		}
	}
	return best
}

func commonPrefix(a, b []int32) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// adopt makes a sequence that holds the source's tokens.
func (o *owner) adopt(src source) (*offload.Seq, error) {
	switch k := src.keep; {
	case src.n == 0:
		return o.res.pool.NewSeq()
	case k != nil && len(k.ids)-src.n < evictTok:
		o.kept = slices.DeleteFunc(o.kept, func(x *kept) bool { return x == k })
		return k.seq, k.seq.Truncate(src.n)
	case k != nil:
		o.touch(k)
	}
	return src.seq.Fork(src.n)
}

func (o *owner) touch(k *kept) {
	o.clock++
	k.used = o.clock
}

// retire takes a task's sequence away, and keeps it when keep is set.
func (o *owner) retire(t *task, keep bool) {
	seq := t.seq
	t.seq = nil
	if seq == nil {
		return
	}
	seq.CancelPrefill()
	n := seq.Len()
	if !keep || n == 0 || seq.Truncate(n) != nil { // drops pages that were only reserved
		seq.Free()
		return
	}
	k := &kept{seq: seq, ids: t.ids[:n:n]}
	for _, x := range o.kept {
		if commonPrefix(x.ids, k.ids) == n {
			o.touch(x) // x can do all that k can
			seq.Free()
			return
		}
	}
	o.kept = slices.DeleteFunc(o.kept, func(x *kept) bool {
		useless := commonPrefix(x.ids, k.ids) == len(x.ids)
		if useless {
			x.seq.Free()
		}
		return useless
	})
	o.touch(k)
	o.kept = append(o.kept, k)
	if len(o.kept) > o.cfg.CacheSeqs {
		o.forget(o.oldest())
	}
}

// oldest is the index of the least recently used kept sequence, -1 for none.
func (o *owner) oldest() int {
	at := -1
	for i, k := range o.kept {
		if at < 0 || k.used < o.kept[at].used {
			at = i
		}
	}
	return at
}

func (o *owner) forget(i int) {
	o.kept[i].seq.Free()
	o.kept = slices.Delete(o.kept, i, i+1)
}

// evict gives pages of the least recently used kept sequence back, from its
// end, and reports whether there was one. Shared pages stay in use, so that
// nothing may have become free.
func (o *owner) evict() bool {
	i := o.oldest()
	if i < 0 {
		return false
	}
	k := o.kept[i]
	n := k.seq.Keepable(len(k.ids) - evictTok)
	if n <= 0 || k.seq.Truncate(n) != nil {
		o.forget(i)
		return true
	}
	k.ids = k.ids[:n]
	return true
}
