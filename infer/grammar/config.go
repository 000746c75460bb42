package grammar

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// item is a state in a frame.
type item struct {
	state int32
	up    *frame
}

// frame is where a rule returns to: the states behind the calls that have led to it
// at one place of the text, each in the frame of its caller. Equal frames are
// the same object while the cache lives.
type frame struct {
	id     uint64
	items  []item // sorted
	bottom bool   // the end of this rule is (also) the end of the text
	cost   int32  // fewest bytes that complete the text from here

	generation uint64 // of resumed
	resumed    int32  // config after the return, 0 when not known

	// While a closure builds it:
	open     bool
	inherits []*frame // their items are items of this one too
	done     *frame   // the finished frame in its place
}

// config is where a grammar stands after some text: the states that wait for a
// byte.
type config struct {
	items  []item // sorted
	accept bool   // the text may end here
	cost   int32  // fewest bytes that complete the text

	generation uint64
	id         int32 // within the generation
	groups     []group
}

// Bytes that a frame takes, without those of its entry in a cache, and an item.
const (
	frameSize = 112
	itemSize  = 16
)

// group is the items of a config that share a frame, seen as a config of their
// own whose text ends where that frame is returned to.
type group struct {
	local int32 // config
	up    *frame
}

// Ids of configs that do not stand for any.
const (
	unknown = int32(0)
	failed  = int32(1) // no text goes on here
)

// cache is what has been found out since the last reset.
type cache struct {
	generation uint64
	size       int // bytes, roughly
	nextFrame  uint64
	bottom     *frame
	configs    []*config // by id
	next       []int32   // [configs][classes] config after a byte
	byItems    map[string]*config
	frames     map[string]*frame
	key        []byte // scratch

	frontiers  [][]int32 // trie nodes by frontier id
	byNodes    map[string]int32
	walks      map[walkKey]*walk
	startNodes int32 // frontier of the root alone
}

func (k *cache) reset() {
	*k = cache{generation: k.generation + 1, nextFrame: k.nextFrame, bottom: k.bottom,
		configs: []*config{nil, {cost: never}}, byItems: map[string]*config{}, frames: map[string]*frame{},
		byNodes: map[string]int32{}, walks: map[walkKey]*walk{}}
	if k.bottom == nil {
		k.bottom = k.newFrame(nil, true)
		k.bottom.cost = 0
	}
	k.startNodes = k.frontier([]int32{0})
}

func (k *cache) newFrame(items []item, bottom bool) *frame {
	k.nextFrame++
	return &frame{id: k.nextFrame, items: items, bottom: bottom, cost: never}
}

func compareItems(a, b item) int {
	if c := cmp.Compare(a.state, b.state); c != 0 {
		return c
	}
	return cmp.Compare(a.up.id, b.up.id)
}

func (k *cache) itemsKey(items []item, flag bool) []byte {
	key := append(k.key[:0], 0)
	if flag {
		key[0] = 1
	}
	for _, it := range items {
		key = binary.LittleEndian.AppendUint32(key, uint32(it.state))
		key = binary.LittleEndian.AppendUint64(key, it.up.id)
	}
	k.key = key
	return key
}

// completion is the least cost among items.
func (c *Constraint) completion(items []item, ends bool) int32 {
	if ends {
		return 0
	}
	best := never
	for _, it := range items {
		best = min(best, plus(c.cost[it.state], it.up.cost))
	}
	return best
}

// spendSorting counts the work to sort items, to hash them and to keep a copy.
func (c *Constraint) spendSorting(items []item) bool { return c.spend(sortWork * len(items)) }

// frameOf returns the frame with these items, which it sorts.
func (c *Constraint) frameOf(items []item, bottom bool) *frame {
	k := &c.cache
	if !c.spendSorting(items) {
		return k.bottom
	}
	slices.SortFunc(items, compareItems)
	items = slices.Compact(items)
	if len(items) == 0 && bottom {
		return k.bottom
	}
	key := k.itemsKey(items, bottom)
	if f := k.frames[string(key)]; f != nil {
		return f
	}
	f := k.newFrame(slices.Clone(items), bottom)
	f.cost = c.completion(items, bottom)
	k.frames[string(key)] = f
	k.size += 160 + 40*len(items)
	return f
}

// configOf returns the id of the config with these items, which it sorts.
func (c *Constraint) configOf(items []item, accept bool) int32 {
	if len(items) == 0 && !accept {
		return failed
	}
	if !c.spendSorting(items) {
		return failed
	}
	slices.SortFunc(items, compareItems)
	if x := c.cache.byItems[string(c.cache.itemsKey(items, accept))]; x != nil {
		return x.id
	}
	return c.adopt(&config{items: slices.Clone(items), accept: accept, cost: c.completion(items, accept)})
}

// adopt gives a config an id in the present generation.
func (c *Constraint) adopt(x *config) int32 {
	k := &c.cache
	if x.generation == k.generation {
		return x.id
	}
	c.spend(len(x.items))
	if x.generation != 0 { // an output has kept it while the cache was emptied
		c.countOpen(x)
	}
	x.generation, x.id, x.groups = k.generation, int32(len(k.configs)), nil
	k.configs = append(k.configs, x)
	k.byItems[string(k.itemsKey(x.items, x.accept))] = x
	k.size += 200 + 40*len(x.items) + 4*len(c.bytes)
	return x.id
}

// countOpen limits what a config keeps of the caches that were emptied before: the
// frames that its stacks lead to, each once.
func (c *Constraint) countOpen(x *config) {
	size, seen := 0, map[*frame]bool{}
	todo := [][]item{x.items}
	for len(todo) > 0 {
		items := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, it := range items {
			if seen[it.up] {
				continue
			}
			seen[it.up] = true
			todo = append(todo, it.up.items)
			if size += frameSize + itemSize*len(it.up.items); size > maxOpen && c.over == nil {
				c.over = &LimitError{What: "bytes of rules that are open", Limit: maxOpen, Got: size}
			}
			if !c.spend(1 + len(it.up.items)) {
				return
			}
		}
	}
}

// step returns the config after a byte of a class.
func (c *Constraint) step(id int32, class uint8) int32 {
	k, at := &c.cache, int(id)*len(c.bytes)+int(class)
	if at < len(k.next) && k.next[at] != unknown {
		return k.next[at]
	}
	to := failed
	if id != failed && !c.dead[class] {
		var kernel []item
		b := c.bytes[class]
		for _, it := range k.configs[id].items {
			edges := c.g.states[it.state].edges
			c.spend(len(edges))
			for _, e := range edges {
				if e.lo <= b && b <= e.hi {
					kernel = append(kernel, item{e.to, it.up})
				}
			}
		}
		to = c.closure(kernel, false)
	}
	if need := len(k.configs) * len(c.bytes); len(k.next) < need {
		k.next = append(k.next, make([]int32, need-len(k.next))...)
	}
	if c.over == nil {
		k.next[at] = to
	}
	return to
}

// resume returns the config after the rule that f is the frame of.
func (c *Constraint) resume(f *frame) int32 {
	if f.generation == c.cache.generation && f.resumed != unknown {
		return f.resumed
	}
	id := c.closure(f.items, f.bottom)
	if c.over == nil {
		f.generation, f.resumed = c.cache.generation, id
	}
	return id
}

// groupsOf splits a config by frames.
func (c *Constraint) groupsOf(id int32) []group {
	x := c.cache.configs[id]
	if x.groups == nil && c.spend(len(x.items)) {
		var ups []*frame
		states := map[*frame][]item{}
		for _, it := range x.items {
			if states[it.up] == nil {
				ups = append(ups, it.up)
			}
			states[it.up] = append(states[it.up], item{it.state, c.cache.bottom})
		}
		groups := make([]group, 0, len(ups))
		for _, up := range ups {
			groups = append(groups, group{c.configOf(states[up], false), up})
		}
		if c.over != nil {
			return nil
		}
		x.groups = groups
		c.cache.size += 16 * len(groups)
	}
	return x.groups
}
