package sample

import (
	"fmt"
	"unicode/utf8"
)

// Limits on stop strings.
const (
	MaxStops     = 16
	MaxStopBytes = 1024
)

// Stops finds stop strings in text that arrives in pieces and holds back only
// what may still become one. The first stop string to be complete wins, as
// generation ends there; of those that end at the same byte, the longest does.
// Neither the match nor the text passed on depends on where the pieces are
// cut. Pieces may end within a UTF-8 sequence: the start of an unfinished one
// is held back too, so that every piece passed on consists of whole
// characters. Bytes that can never be valid UTF-8 are passed on as they are.
type Stops struct {
	matchers []matcher
	held     []byte // received, not yet passed on; its memory is reused
	stopped  bool
	matched  string // the stop string that was found
}

// NewStops returns a matcher for the given strings, of which there may be
// none. Each must be valid UTF-8 of 1 to MaxStopBytes bytes.
func NewStops(stops []string) (*Stops, error) {
	if len(stops) > MaxStops {
		return nil, fmt.Errorf("at most %d stop strings are allowed, got %d", MaxStops, len(stops))
	}
	s := &Stops{}
	for i, stop := range stops {
		switch {
		case stop == "":
			return nil, fmt.Errorf("stop string %d is empty", i)
		case len(stop) > MaxStopBytes:
			return nil, fmt.Errorf("stop string %d has %d bytes, the limit is %d", i, len(stop), MaxStopBytes)
		case !utf8.ValidString(stop):
			return nil, fmt.Errorf("stop string %d is not valid UTF-8", i)
		}
		s.matchers = append(s.matchers, newMatcher(stop))
	}
	return s, nil
}

// Append takes the next piece of text and appends to dst what may be passed
// on. Once it reports stopped, the stop string and all that follows it are
// dropped, and later calls append nothing. dst and piece must not overlap;
// neither is kept.
func (s *Stops) Append(dst, piece []byte) (out []byte, stopped bool) {
	if s.stopped {
		return dst, true
	}
	fresh := len(s.held)
	s.held = append(s.held, piece...)
	for i := fresh; i < len(s.held); i++ {
		if n := s.step(s.held[i]); n > 0 {
			dst = append(dst, s.held[:i+1-n]...)
			s.matched = string(s.held[i+1-n : i+1])
			s.stopped, s.held = true, nil
			return dst, true
		}
	}
	cut := len(s.held) - unfinishedRune(s.held)
	for i := range s.matchers {
		cut = min(cut, len(s.held)-s.matchers[i].state)
	}
	dst = append(dst, s.held[:cut]...)
	s.held = s.held[:copy(s.held, s.held[cut:])]
	return dst, false
}

// Matched is the stop string that ended the text, "" if none has.
func (s *Stops) Matched() string { return s.matched }

// Flush ends the text and appends to dst what was still held back, which is
// nothing after a stop.
func (s *Stops) Flush(dst []byte) []byte {
	dst = append(dst, s.held...)
	s.held = s.held[:0]
	for i := range s.matchers {
		s.matchers[i].state = 0
	}
	return dst
}

// step feeds one byte to all matchers and returns the length of the longest
// stop string that it completes, or 0.
func (s *Stops) step(b byte) int {
	longest := 0
	for i := range s.matchers {
		if m := &s.matchers[i]; m.step(b) {
			longest = max(longest, len(m.pattern))
		}
	}
	return longest
}

// unfinishedRune returns how many bytes at the end of s begin a UTF-8 sequence
// that more bytes could complete.
func unfinishedRune(s []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(s); n++ {
		tail := s[len(s)-n:]
		if utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}

// matcher is a Knuth-Morris-Pratt automaton: state is the length of the
// longest prefix of pattern that ends the text so far.
type matcher struct {
	pattern string
	border  []int32 // [len(pattern)] longest proper border of pattern[:i+1], bytes
	state   int
}

func newMatcher(pattern string) matcher {
	border := make([]int32, len(pattern))
	for i, n := 1, int32(0); i < len(pattern); i++ {
		for n > 0 && pattern[n] != pattern[i] {
			n = border[n-1]
		}
		if pattern[n] == pattern[i] {
			n++
		}
		border[i] = n
	}
	return matcher{pattern: pattern, border: border}
}

// step feeds one byte and reports whether it completes the pattern. The
// matcher is not used further after that.
func (m *matcher) step(b byte) bool {
	for m.state > 0 && m.pattern[m.state] != b {
		m.state = int(m.border[m.state-1])
	}
	if m.pattern[m.state] == b {
		m.state++
	}
	return m.state == len(m.pattern)
}
