package chat

import (
	"bytes"
	"strings"
)

// ThoughtParser takes the thought out of a model's answer as it grows: what stands
// in <think>…</think> at its begin, the space around it dropped. All else is the
// answer, byte for byte. A thought that is cut off is a thought.
type ThoughtParser struct {
	place         thoughtPlace
	opened        bool   // by the prompt
	begun         bool   // the thought has something else than space
	held          []byte // may become a tag, or space before one
	thought, text []byte // of the present piece
}

type thoughtPlace uint8

const (
	beforeThought thoughtPlace = iota
	withinThought
	behindThought // at the space in front of the answer
	withinAnswer
)

// NewThoughtParser returns a parser for an answer, whose thought the prompt may have
// opened already.
func NewThoughtParser(opened bool) *ThoughtParser { return &ThoughtParser{opened: opened} }

// ThoughtOpened says whether a prompt ends with the begin of a thought.
func ThoughtOpened(prompt string) bool {
	return strings.HasSuffix(strings.TrimRight(prompt, spaces), thoughtBegins)
}

const spaces = " \t\r\n"

// Ended says whether the thought, if there is one, is over.
func (p *ThoughtParser) Ended() bool { return p.place > withinThought }

// Push takes the next piece of the answer. What it returns is valid until the next
// call.
func (p *ThoughtParser) Push(piece []byte) (thought, text []byte) {
	p.thought, p.text = p.thought[:0], p.text[:0]
	for i, b := range piece {
		if p.place == withinAnswer {
			p.text = append(p.text, piece[i:]...)
			break
		}
		p.step(b)
	}
	return p.thought, p.text
}

// Close ends the answer.
func (p *ThoughtParser) Close() (thought, text []byte) {
	p.thought, p.text = p.thought[:0], p.text[:0]
	switch {
	case p.place == withinThought, p.place == beforeThought && p.opened:
		p.think(bytes.TrimRight(p.held, spaces))
	default:
		p.text = append(p.text, p.held...)
	}
	p.held = nil
	return p.thought, p.text
}

func (p *ThoughtParser) step(b byte) {
	switch p.place {
	case beforeThought:
		p.held = append(p.held, b)
		switch rest := bytes.TrimLeft(p.held, spaces); {
		case string(rest) == thoughtBegins:
			p.held, p.place = p.held[:0], withinThought
		case strings.HasPrefix(thoughtBegins, string(rest)):
		case p.opened:
			p.place = withinThought
			p.release()
		default:
			p.text = append(p.text, p.held...)
			p.held, p.place = p.held[:0], withinAnswer
		}
	case withinThought:
		p.held = append(p.held, b)
		p.release()
	case behindThought:
		if !isSpace(b) {
			p.place, p.text = withinAnswer, append(p.text, b)
		}
	}
}

// release passes on what of a thought can no longer become its end, nor the space
// before that.
func (p *ThoughtParser) release() {
	if rest, whole := bytes.CutSuffix(p.held, []byte(thoughtEnds)); whole {
		p.think(bytes.TrimRight(rest, spaces))
		p.held, p.place = p.held[:0], behindThought
		return
	}
	keep := min(len(thoughtEnds)-1, len(p.held))
	for !bytes.HasSuffix(p.held, []byte(thoughtEnds[:keep])) {
		keep--
	}
	cut := len(bytes.TrimRight(p.held[:len(p.held)-keep], spaces))
	p.think(p.held[:cut])
	p.held = append(p.held[:0], p.held[cut:]...)
}

func (p *ThoughtParser) think(piece []byte) {
	if !p.begun {
		piece = bytes.TrimLeft(piece, spaces)
	}
	p.begun = p.begun || len(piece) > 0
	p.thought = append(p.thought, piece...)
}
