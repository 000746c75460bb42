package sample

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

// order sorts candidates by descending key, then ascending id. It is a total
// order, so results do not depend on the algorithm that uses it.
func order(a, b candidate) int {
	if a.key != b.key {
		if a.key > b.key {
			return -1
		}
		return 1
	}
	return cmp.Compare(a.id, b.id)
}

func sortCandidates(c []candidate) { slices.SortFunc(c, order) }

// selectTop appends to buf[:0] the k largest elements of row that are above
// minus infinity, largest first. One pass over row collects what beats the
// k-th best so far and halves the buffer whenever it is full, which takes time
// linear in len(row) for any k.
func selectTop(buf []candidate, row []float32, k int) []candidate {
	const slack = 64
	buf = slices.Grow(buf[:0], min(len(row), 2*k+slack))
	limit := cap(buf)
	floor := float32(math.Inf(-1))
	for id, l := range row {
		if !(l > floor) { // an equal logit with a higher id loses
			continue
		}
		if len(buf) == limit {
			partition(buf, k)
			buf = buf[:k]
			floor = lowestLogit(buf)
			if l <= floor {
				continue
			}
		}
		buf = append(buf, candidate{key: float64(l), logit: l, id: int32(id)})
	}
	if len(buf) > k {
		partition(buf, k)
		buf = buf[:k]
	}
	sortCandidates(buf)
	return buf
}

func lowestLogit(c []candidate) float32 {
	low := c[0].logit
	for _, x := range c[1:] {
		low = min(low, x.logit)
	}
	return low
}

// partition moves the k first candidates in order to the front of c, in no
// particular order among themselves. 0 < k < len(c).
func partition(c []candidate, k int) {
	// Quickselect with median of three; sorting bounds the worst case.
	for budget := 2 * bits.Len(uint(len(c))); len(c) > 32; budget-- {
		if budget == 0 {
			break
		}
		p := split(c)
		switch {
		case k <= p:
			c = c[:p]
		case k > p+1:
			c, k = c[p+1:], k-p-1
		default:
			return
		}
		if k == 0 || k == len(c) {
			return
		}
	}
	sortCandidates(c)
}

// split moves a pivot to its final place p and returns p: what is before it in
// order stands left of it. len(c) >= 3.
func split(c []candidate) int {
	mid, last := len(c)/2, len(c)-1
	if order(c[mid], c[0]) < 0 {
		c[mid], c[0] = c[0], c[mid]
	}
	if order(c[last], c[0]) < 0 {
		c[last], c[0] = c[0], c[last]
	}
	if order(c[last], c[mid]) < 0 {
		c[last], c[mid] = c[mid], c[last]
	}
	// c[0] <= pivot <= c[last] are sentinels for the scans.
	c[mid], c[last-1] = c[last-1], c[mid]
	pivot, i, j := c[last-1], 0, last-1
	for {
		for i++; order(c[i], pivot) < 0; i++ {
		}
		for j--; order(c[j], pivot) > 0; j-- {
		}
		if i >= j {
			break
		}
		c[i], c[j] = c[j], c[i]
	}
	c[i], c[last-1] = c[last-1], c[i]
	return i
}
