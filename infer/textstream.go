package infer

import (
	"edged/infer/sample"
	"edged/infer/tok"
)

// textStream turns sampled tokens into text that may be shown: whole UTF-8
// sequences, nothing that may become a stop string, and log probabilities no
// earlier than the text that they belong to.
type textStream struct {
	decoder *tok.Stream
	stops   *sample.Stops // nil without stop strings
	scratch []byte        // what the last token added to the text

	decoded  int // bytes that came out of decoder
	released int // of these, bytes passed on

	// Waiting for their text, oldest first.
	held     []heldProb
	heldTops []sample.TokenProb

	// Released since the last take.
	text  []byte
	probs []prob
	tops  []sample.TokenProb
}

// heldProb is a token whose text may still be cut off by a stop string.
type heldProb struct {
	prob
	start int // in the decoded text
}

// note remembers the log probability of the token that push is called with
// next, and of nTop alternatives.
func (s *textStream) note(c *pick, nTop int) {
	n := len(s.heldTops)
	s.heldTops = c.tops(s.heldTops, nTop)
	p := prob{id: c.ID, logprob: c.Logprob, nTop: len(s.heldTops) - n}
	s.held = append(s.held, heldProb{p, s.decoded})
}

// push adds a token and reports whether its text completes a stop string.
func (s *textStream) push(id int32) (stopped bool) {
	s.scratch = s.decoder.Append(s.scratch[:0], id)
	return s.pass(s.scratch)
}

// flush ends the text: nothing is held back any more.
func (s *textStream) flush() {
	if rest := s.decoder.Flush(); rest != "" && s.pass([]byte(rest)) {
		return
	}
	if s.stops != nil {
		s.text = s.stops.Flush(s.text)
	}
	s.release(s.decoded + 1)
}

func (s *textStream) pass(piece []byte) (stopped bool) {
	s.decoded += len(piece)
	before := len(s.text)
	if s.stops == nil {
		s.text = append(s.text, piece...)
	} else {
		s.text, stopped = s.stops.Append(s.text, piece)
	}
	s.released += len(s.text) - before
	// A token that added no text, as the first part of a character does, goes
	// with the text that follows.
	s.release(s.released)
	if stopped {
		s.held, s.heldTops = s.held[:0], s.heldTops[:0]
	}
	return stopped
}

// release passes on the log probabilities of tokens that begin before a byte
// of the decoded text.
func (s *textStream) release(before int) {
	n, nTop := 0, 0
	for n < len(s.held) && s.held[n].start < before {
		s.probs = append(s.probs, s.held[n].prob)
		nTop += s.held[n].nTop
		n++
	}
	if n == 0 {
		return
	}
	s.tops = append(s.tops, s.heldTops[:nTop]...)
	s.held = s.held[:copy(s.held, s.held[n:])]
	s.heldTops = s.heldTops[:copy(s.heldTops, s.heldTops[nTop:])]
}

// take returns what was released since the last call, valid until the next
// push.
func (s *textStream) take() (text []byte, probs []prob, tops []sample.TokenProb) {
	text, probs, tops = s.text, s.probs, s.tops
	s.text, s.probs, s.tops = s.text[:0], s.probs[:0], s.tops[:0]
	return text, probs, tops
}
