package sample

import (
	"math"
	"math/bits"
	"slices"
)

// candidate is a token with the key that a filter ranks it by, packed so that
// the natural order of integers is the rank: larger keys first, equal keys by
// ascending id. As ids are distinct, the order is total, and no result depends
// on the algorithm that selects or sorts.
type candidate uint64

func newCandidate(key float32, id int32) candidate {
	if key == 0 {
		key = 0 // -0 equals 0
	}
	b := math.Float32bits(key)
	if b>>31 == 0 {
		b = ^b &^ (1 << 31) // positive: descending, before the negative keys
	}
	return candidate(b)<<32 | candidate(uint32(id))
}

func (c candidate) id() int32 { return int32(uint32(c)) }

// logit is the key; 0 for -0.
func (c candidate) logit() float32 {
	b := uint32(c >> 32)
	if b>>31 == 0 {
		b = ^b &^ (1 << 31)
	}
	return math.Float32frombits(b)
}

// selectTop appends to buf[:0] the k largest elements of row that are above
// minus infinity, best first. One pass over row collects what beats the k-th
// best so far and cuts the buffer back to k whenever it is full, which takes
// time linear in len(row) for any k.
func selectTop(buf []candidate, row []float32, k int) []candidate {
	const slack = 64
	limit := min(len(row), 2*k+slack)
	buf = slices.Grow(buf[:0], limit)
	floor := float32(math.Inf(-1))
	for id, l := range row {
		if !(l > floor) { // an equal logit with a higher id loses
			continue
		}
		if len(buf) == limit {
			partition(buf, k)
			buf = buf[:k]
			floor = row[slices.Max(buf).id()]
			if l <= floor {
				continue
			}
		}
		buf = append(buf, newCandidate(l, int32(id)))
	}
	if len(buf) > k {
		partition(buf, k)
		buf = buf[:k]
	}
	slices.Sort(buf)
	return buf
}

// partition moves the k best candidates to the front of c, in no particular
// order among themselves. 0 < k < len(c).
func partition(c []candidate, k int) {
	const small = 32
	// Quickselect; sorting bounds the worst case when pivots are bad.
	for budget := 2 * bits.Len(uint(len(c))); len(c) > small && budget > 0; budget-- {
		p := split(c)
		switch {
		case k == p || k == p+1:
			return
		case k < p:
			c = c[:p]
		default:
			c, k = c[p+1:], k-p-1
		}
	}
	slices.Sort(c)
}

// split moves a pivot, the median of three candidates, to its final place p:
// the better ones stand left of it. It returns p. len(c) >= 3.
func split(c []candidate) int {
	mid, last := len(c)/2, len(c)-1
	if c[mid] < c[0] {
		c[mid], c[0] = c[0], c[mid]
	}
	if c[last] < c[0] {
		c[last], c[0] = c[0], c[last]
	}
	if c[last] < c[mid] {
		c[last], c[mid] = c[mid], c[last]
	}
	// c[0] and c[last-1] now stop the two scans.
	c[mid], c[last-1] = c[last-1], c[mid]
	pivot, i, j := c[last-1], 0, last-1
	for {
		for i++; c[i] < pivot; i++ {
		}
		for j--; c[j] > pivot; j-- {
		}
		if i >= j {
			break
		}
		c[i], c[j] = c[j], c[i]
	}
	c[i], c[last-1] = c[last-1], c[i]
	return i
}
