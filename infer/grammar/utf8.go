package grammar

import (
	"slices"
	"unicode/utf8"
)

const maxRune = utf8.MaxRune

// byteSpan is a range of bytes, both ends included.
type byteSpan struct{ lo, hi byte }

// utf8Sequences calls yield with sequences of byte ranges that together match
// exactly the UTF-8 of the code points in s, surrogates left out.
func utf8Sequences(s span, yield func([]byteSpan)) {
	for _, part := range []span{{s.lo, min(s.hi, 0xD7FF)}, {max(s.lo, 0xE000), s.hi}} {
		for n, last := range []rune{0x7F, 0x7FF, 0xFFFF, maxRune} {
			first := []rune{0, 0x80, 0x800, 0x10000}[n]
			if lo, hi := max(part.lo, first), min(part.hi, last); lo <= hi {
				splitSequence(lo, hi, n, yield)
			}
		}
	}
}

// splitSequence handles code points of equal length: n continuation bytes. It
// splits until, in every part, all combinations of the byte ranges are meant.
func splitSequence(lo, hi rune, n int, yield func([]byteSpan)) {
	for i := 1; i <= n; i++ {
		low := rune(1)<<(6*i) - 1 // the bits of the last i bytes
		if lo&^low == hi&^low {
			continue
		}
		if lo&low != 0 {
			splitSequence(lo, lo|low, n, yield)
			splitSequence(lo|low+1, hi, n, yield)
			return
		}
		if hi&low != low {
			splitSequence(lo, hi&^low-1, n, yield)
			splitSequence(hi&^low, hi, n, yield)
			return
		}
	}
	var a, b [utf8.UTFMax]byte
	utf8.EncodeRune(a[:], lo)
	utf8.EncodeRune(b[:], hi)
	out := make([]byteSpan, n+1)
	for i := range out {
		out[i] = byteSpan{a[i], b[i]}
	}
	yield(out)
}

// normal sorts spans and joins those that touch.
func normal(in []span) runes {
	in = slices.Clone(in)
	slices.SortFunc(in, func(a, b span) int { return int(a.lo - b.lo) })
	var out runes
	for _, s := range in {
		switch n := len(out); {
		case s.lo > s.hi:
		case n > 0 && s.lo <= out[n-1].hi+1:
			out[n-1].hi = max(out[n-1].hi, s.hi)
		default:
			out = append(out, s)
		}
	}
	return out
}

// complement returns the code points that are not in r.
func (r runes) complement() runes {
	var out runes
	next := rune(0)
	for _, s := range normal(r) {
		if s.lo > next {
			out = append(out, span{next, s.lo - 1})
		}
		next = s.hi + 1
	}
	if next <= maxRune {
		out = append(out, span{next, maxRune})
	}
	return out
}

// minus returns the code points of r that are not in other.
func (r runes) minus(other runes) runes {
	return append(r.complement(), other...).complement()
}

// intersect returns the code points in both.
func (r runes) intersect(other runes) runes {
	return r.minus(other.complement())
}
