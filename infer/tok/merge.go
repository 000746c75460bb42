package tok

import "slices"

// maxPiece bounds the memory of one run of merges, in bytes of text, at some 70 MiB: a longer stretch of text that no
// rule splits is cut there.
const maxPiece = 1 << 20

// symbol is a node of the linked list of text that merges work on.
type symbol struct {
	start, end int32 // byte range in the text
	prev, next int32 // neighbours, or -1
	id         int32 // token, or NoToken
}

// candidate is a possible merge of a symbol with its right neighbour.
type candidate struct {
	order uint64 // priority<<32 | left symbol: the smallest is merged first
	right int32
	size  int32 // bytes of both symbols when the candidate was found
	id    int32 // token that the merge makes
}

// merger merges neighbouring symbols, best pair first, in O(n log n).
type merger struct {
	syms []symbol
	heap []candidate
	pops int // candidates taken from the heap in the last run: the measure of its work
}

// reset empties the list and makes room for n symbols.
func (m *merger) reset(n int) {
	m.syms, m.heap, m.pops = slices.Grow(m.syms[:0], n), slices.Grow(m.heap[:0], n), 0
}

// add appends a symbol to the list.
func (m *merger) add(start, end int, id int32) {
	n := int32(len(m.syms))
	if n > 0 {
		m.syms[n-1].next = n
	}
	m.syms = append(m.syms, symbol{start: int32(start), end: int32(end), prev: n - 1, next: -1, id: id})
}

// pairer says whether two neighbours of a text may merge, into which token, and how early (a smaller priority first).
type pairer interface {
	pair(text string, left, right *symbol) (priority uint32, id int32, ok bool)
}

// run merges the symbols of text until no pair may. What is left is the list that starts at symbol 0.
func (m *merger) run(p pairer, text string) {
	for i := 1; i < len(m.syms); i++ {
		m.propose(p, text, int32(i-1), int32(i))
	}
	for len(m.heap) > 0 {
		c := m.pop()
		m.pops++
		l := int32(uint32(c.order))
		left, right := &m.syms[l], &m.syms[c.right]
		// A candidate is out of date when either side has merged since; a dead left side has next == -2.
		if left.next != c.right || right.end-left.start != c.size {
			continue
		}
		left.end, left.id, left.next = right.end, c.id, right.next
		if right.next >= 0 {
			m.syms[right.next].prev = l
		}
		right.next = -2
		if left.prev >= 0 {
			m.propose(p, text, left.prev, l)
		}
		if left.next >= 0 {
			m.propose(p, text, l, left.next)
		}
	}
}

func (m *merger) propose(p pairer, text string, l, r int32) {
	left, right := &m.syms[l], &m.syms[r]
	priority, id, ok := p.pair(text, left, right)
	if !ok {
		return
	}
	m.push(candidate{
		order: uint64(priority)<<32 | uint64(uint32(l)),
		right: r, size: right.end - left.start, id: id,
	})
}

func (m *merger) push(c candidate) {
	m.heap = append(m.heap, c)
	i := len(m.heap) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if m.heap[parent].order <= c.order {
			break
		}
		m.heap[i] = m.heap[parent]
		i = parent
	}
	m.heap[i] = c
}

func (m *merger) pop() candidate {
	top := m.heap[0]
	last := m.heap[len(m.heap)-1]
	m.heap = m.heap[:len(m.heap)-1]
	if len(m.heap) == 0 {
		return top
	}
	i := 0
	for {
		child := 2*i + 1
		if child >= len(m.heap) {
			break
		}
		if child+1 < len(m.heap) && m.heap[child+1].order < m.heap[child].order {
			child++
		}
		if last.order <= m.heap[child].order {
			break
		}
		m.heap[i] = m.heap[child]
		i = child
	}
	m.heap[i] = last
	return top
}
