package grammar

import (
	"encoding/binary"
	"slices"
)

// A mask is a set of tokens: bit id%64 of word id/64 says whether a token may
// come next.

// walkKey names a walk: from a config, from trie nodes down.
type walkKey struct{ config, frontier int32 }

// walk is what a walk through the trie has found. The tokens are in bits when
// they are many, else in ids.
type walk struct {
	bits     []uint64
	ids      []int32
	frontier int32 // nodes where the text of the config may end and tokens go on
}

// frontier returns the id of a list of trie nodes.
func (k *cache) frontier(nodes []int32) int32 {
	key := k.key[:0]
	for _, n := range nodes {
		key = binary.LittleEndian.AppendUint32(key, uint32(n))
	}
	k.key = key
	id, ok := k.byNodes[string(key)]
	if !ok {
		id = int32(len(k.frontiers))
		k.frontiers = append(k.frontiers, nodes)
		k.byNodes[string(key)] = id
		k.size += 100 + 8*len(nodes)
	}
	return id
}

func (c *Constraint) words() int { return (c.v.rows + 63) / 64 }

// mask adds to out the tokens that may follow in a config, seen from the trie
// nodes of a frontier.
func (c *Constraint) mask(out []uint64, id, frontier int32, seen map[walkKey]bool) {
	key := walkKey{id, frontier}
	if seen[key] || c.over != nil {
		return
	}
	seen[key] = true
	for _, g := range c.groupsOf(id) {
		w := c.walk(walkKey{g.local, frontier})
		if !c.spend(1 + (len(w.bits)+len(w.ids))/64) { // setting so many takes as long as one item
			return
		}
		for i, b := range w.bits {
			out[i] |= b
		}
		for _, t := range w.ids {
			out[t/64] |= 1 << (t % 64)
		}
		if len(c.cache.frontiers[w.frontier]) > 0 && len(g.up.items) > 0 {
			c.mask(out, c.resume(g.up), w.frontier, seen)
		}
	}
}

// walk returns the result for a key, from the cache if it is there.
func (c *Constraint) walk(key walkKey) *walk {
	if w := c.cache.walks[key]; w != nil {
		return w
	}
	var tokens, ends []int32
	for _, n := range c.cache.frontiers[key.frontier] {
		if tokens, ends = c.descend(tokens, ends, key.config, n); c.over != nil {
			break
		}
	}
	// A frontier may hold a node and one below it, whose walks meet: kept twice, what
	// they find would double with every rule that ends.
	slices.Sort(ends)
	slices.Sort(tokens)
	ends, tokens = slices.Compact(ends), slices.Compact(tokens)
	w := &walk{frontier: c.cache.frontier(ends)}
	if len(tokens) > 2*c.words() {
		w.bits = make([]uint64, c.words())
		for _, t := range tokens {
			w.bits[t/64] |= 1 << (t % 64)
		}
	} else {
		w.ids = append(w.ids, tokens...)
	}
	if c.over == nil {
		c.cache.walks[key] = w
		c.cache.size += 100 + 8*len(w.bits) + 4*len(w.ids)
	}
	return w
}

// descend walks the trie below a node. It appends the tokens on the way and the
// nodes where the config's text may end but tokens go on.
func (c *Constraint) descend(tokens, ends []int32, config, node int32) (_, _ []int32) {
	v, k := c.v, &c.cache
	var path [maxToken + 1]int32
	path[0] = config
	base := int(v.depth[node])
	classes := len(c.bytes)
	visited := 0
	defer func() { c.spend(visited) }()
	for n, end := node+1, v.skip[node]; n < end; visited++ {
		d := int(v.depth[n]) - base
		class := c.class[v.bytes[n]]
		to := unknown
		if at := int(path[d-1])*classes + int(class); at < len(k.next) {
			to = k.next[at]
		}
		if to == unknown {
			if to = c.step(path[d-1], class); c.over != nil {
				return tokens, ends
			}
		}
		if to == failed {
			n = v.skip[n]
			continue
		}
		tokens = append(tokens, v.ids[v.first[n]:v.first[n+1]]...)
		if v.skip[n] > n+1 && k.configs[to].accept {
			ends = append(ends, n)
		}
		path[d] = to
		n++
	}
	return tokens, ends
}

func empty(mask []uint64) bool {
	for _, w := range mask {
		if w != 0 {
			return false
		}
	}
	return true
}
