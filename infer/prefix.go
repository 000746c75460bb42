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
	seq     *offload.Seq
	ids     []int32 // [seq.Len()] tokens
	owner   uint32
	session string // that it is the sequence of, or ""
	exact   int    // tokens from the first on that are exact prefill
	used    uint64 // owner.clock of the last use
}

// source is where a task's first n tokens are cached: in a kept sequence, or
// in that of a running task, when keep is nil.
type source struct {
	seq   *offload.Seq // nil when n is 0
	keep  *kept
	n     int // tokens
	exact int // of them, from the first on, those that are exact prefill
}

// longestPrefix finds the sequence that shares the most tokens with a task's,
// all but the last. Of equals it prefers a kept one, which can be taken over.
func (o *owner) longestPrefix(t *task) source {
	var best source
	ids := t.ids[:len(t.ids)-1]
	for _, k := range o.kept {
		if k.owner != t.owner {
			continue
		}
		if n := k.seq.Keepable(t.usable(commonPrefix(k.ids, ids), k.session, k.exact)); n > best.n {
			best = source{k.seq, k, n, min(n, k.exact)}
		}
	}
	for _, begun := range [...][]*task{o.running, o.parked} {
		for _, r := range begun {
			if r.seq == nil || r.owner != t.owner {
				continue
			}
			exact := o.exactTok(r)
			if n := r.seq.Keepable(t.usable(commonPrefix(r.ids[:r.seq.Len()], ids), r.sessionID(), exact)); n > best.n {
				best = source{r.seq, nil, n, min(n, exact)}
			}
		}
	}
	return best
}

// usable is how much of a common prefix a task may take from a sequence. What
// depends on more than tokens, a session takes from its own sequence only, since
// else a turn would not go on from what was stored before it; and nobody else takes it from
// a session's, since that may have come from a file that holds anything.
func (t *task) usable(n int, session string, exact int) int {
	if t.embed != nil {
		return 0 // all states are wanted, not what comes after them
	}
	if t.sessionID() == session {
		return n
	}
	return min(n, exact)
}

func (t *task) sessionID() string {
	if t.session == nil {
		return ""
	}
	return t.session.ID
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

// adopt makes a sequence that holds the source's tokens. A session's sequence
// is left to the session, and one that is being saved stays as it is.
func (o *owner) adopt(t *task, src source) (*offload.Seq, error) {
	switch k := src.keep; {
	case src.n == 0:
		return o.res.pool.NewSeq()
	case k != nil && !k.seq.Held() && len(k.ids)-src.n < evictTok && (k.session == "" || k.session == t.sessionID()):
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
	o.leaveWake(t)
	if t.seq == nil {
		return
	}
	seq, exact, pinned := t.seq, o.exactTok(t), t.leaveStaging()
	t.seq = nil
	if pinned {
		return
	}
	seq.CancelPrefill()
	n := seq.Len()
	if !keep || n == 0 || t.embed != nil || seq.Truncate(n) != nil { // drops pages that were only reserved
		seq.Free()
		return
	}
	k := &kept{seq: seq, ids: t.ids[:n:n], owner: t.owner, session: t.sessionID(), exact: exact}
	for _, x := range o.kept {
		if commonPrefix(x.ids, k.ids) == n && x.replaces(k) {
			o.touch(x) // x can do all that k can
			seq.Free()
			return
		}
	}
	o.kept = slices.DeleteFunc(o.kept, func(x *kept) bool {
		useless := commonPrefix(x.ids, k.ids) == len(x.ids) && k.replaces(x)
		if useless {
			x.seq.Free()
		}
		return useless
	})
	o.touch(k)
	o.kept = append(o.kept, k)
	o.trim()
}

// trim forgets the oldest sequences beyond those that may be kept. What is being
// saved stays until it is.
func (o *owner) trim() {
	for len(o.kept)+o.parkedSeqs() > o.cfg.CacheSeqs {
		i := o.oldest()
		if i < 0 {
			return
		}
		o.forget(i)
	}
}

// replaces says whether a sequence that holds all tokens of another can do all
// that it can.
func (k *kept) replaces(x *kept) bool {
	return k.owner == x.owner && k.exact >= x.exact && (x.session == k.session || k.exact >= len(x.ids))
}

// oldest is the index of the least recently used kept sequence that is not being
// saved, -1 for none.
func (o *owner) oldest() int {
	at := -1
	for i, k := range o.kept {
		if k.seq.Held() {
			continue
		}
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
	k.ids, k.exact = k.ids[:n], min(k.exact, n)
	return true
}
