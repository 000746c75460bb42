// Package graph defines a model's step once, for every backend: a [Program]
// is a straight line of coarse ops over typed buffers, and a [Backend]
// compiles it to something that runs.
//
// # Ownership
//
// A Program is immutable once built. Its weights point into the model file's
// mapping; the program does not keep that file open, its owner does, at least
// until every [Exec] compiled from it is closed.
//
// # Goroutine-safety
//
// Programs may be shared. An Exec belongs to one goroutine.
//
// # Failure modes
//
// [Program.Validate] rejects programs whose shapes do not fit; backends call
// it before they compile. A Backend refuses what it cannot run by name.
package graph

import (
	"fmt"
	"strings"

	"edged/infer/gguf"
	"edged/offload"
)

// Buf names an activation buffer of a program.
type Buf int

// Extent says how many rows a buffer has in a step.
type Extent uint8

const (
	AllRows Extent = iota // one row per token of the step
	OutRows               // one row per token whose logits are wanted
)

// Buffer is a float32 activation matrix [rows, Width].
type Buffer struct {
	Name  string
	Width int
	Rows  Extent
}

// WeightID names a weight of a program; NoWeight stands for an absent one.
type WeightID int

// NoWeight marks an optional weight, such as a bias, that the model lacks.
const NoWeight WeightID = -1

// Weight is a matrix [N, K] (output rows, input width) in the model file's own
// encoding, or a vector [K] with N = 1.
type Weight struct {
	Name string
	Type gguf.Type
	N, K int
	Data []byte
	// Drop gives the pages of the file that Data lies in back to the system: for
	// a weight of which a backend has its own copy, or it would be in memory
	// twice. Data stays valid. Nil without a file.
	Drop func() error
}

// RopeTable is one set of rotary frequencies.
type RopeTable struct {
	InvFreq []float64 // [dims/2] radians per position
	Scale   float32   // multiplies cos and sin (YaRN's attention factor; 1 otherwise)
	// Interleaved pairs channels (2i, 2i+1); otherwise (i, i+dims/2).
	Interleaved bool
}

// Program is one model's step: what turns token ids and cached K and V into
// logits.
type Program struct {
	Name    string
	Vocab   int
	Context int // tokens that the model was made for
	Buffers []Buffer
	Weights []Weight
	Ropes   []RopeTable
	KV      []offload.LayerSpec // [layers]
	Ops     []Op
	Logits  Buf // [out rows, Vocab]

	// Parts are the first ops of each layer and of the head, for prompts that
	// are read layer by layer: part i is layer i, the first with the embedding
	// before it; the last part is the head. What passes from one to the next is
	// Hidden alone. Empty for a program that cannot be read so.
	Parts  []int
	Hidden Buf // [all rows]

	// Final stands in place of the head where a row's hidden state is wanted rather
	// than its logits: it makes States of Hidden. Empty for a program without parts.
	Final  []Op
	States Buf // [all rows]
}

// part is the ops of one part.
func (p *Program) part(i int) []Op {
	end := len(p.Ops)
	if i+1 < len(p.Parts) {
		end = p.Parts[i+1]
	}
	return p.Ops[p.Parts[i]:end]
}

// String prints the program, one op a line, for diffs and for people.
func (p *Program) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "program %s: vocab %d, context %d, %d layers, %d weights\n", p.Name, p.Vocab, p.Context, len(p.KV), len(p.Weights))
	for i, r := range p.Ropes {
		fmt.Fprintf(&b, "rope %d: dims %d, first %.6g, last %.6g, scale %.6g, interleaved %v\n", i, 2*len(r.InvFreq), r.InvFreq[0], r.InvFreq[len(r.InvFreq)-1], r.Scale, r.Interleaved)
	}
	for _, op := range p.Ops {
		b.WriteString(op.format(p))
		b.WriteByte('\n')
	}
	for _, op := range p.Final {
		fmt.Fprintf(&b, "states: %s\n", op.format(p))
	}
	return b.String()
}

func (p *Program) buf(b Buf) string { return p.Buffers[b].Name }

func (p *Program) weight(w WeightID) string {
	if w == NoWeight {
		return "-"
	}
	t := p.Weights[w]
	return fmt.Sprintf("%s:%s[%d,%d]", t.Name, t.Type, t.N, t.K)
}
