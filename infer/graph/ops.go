package graph

import (
	"fmt"
	"strings"
)

// Op is one step of a program. The set is closed: backends switch over it.
type Op interface {
	format(*Program) string
	check(*Program) error
}

// Embed copies rows of a table [vocab, width] by token id, times Scale.
type Embed struct {
	Dst   Buf
	Table WeightID
	Scale float32
}

// RMSNorm writes src / sqrt(mean(src^2) + Eps) * W row by row
// (Zhang and Sennrich, arXiv:1910.07467).
type RMSNorm struct {
	Dst, Src Buf
	W        WeightID
	Eps      float32
}

// AddRMSNorm adds the normalised Y to X: the second norm of a sandwich.
type AddRMSNorm struct {
	X, Y Buf
	W    WeightID
	Eps  float32
}

// Part is one product of a [Linear]: Dst = Src W^T + Bias, or Dst += with Add.
type Part struct {
	Dst  Buf
	W    WeightID
	Bias WeightID
	Add  bool
}

// Linear multiplies one input with one or more weights, so that a backend
// reads and converts the input once.
type Linear struct {
	Src   Buf
	Parts []Part
}

// Activation is the gate's nonlinearity.
type Activation uint8

const (
	SiLU     Activation = iota // x * sigmoid(x)
	GELUTanh                   // the tanh form of GELU
)

func (a Activation) String() string { return [...]string{"silu", "gelu_tanh"}[a] }

// GatedLinear is Dst = Act(Src Gate^T) * (Src Up^T).
type GatedLinear struct {
	Dst, Src Buf
	Gate, Up WeightID
	Act      Activation
}

// HeadNorm is RMSNorm over each head's channels, in place; W is [Dim].
type HeadNorm struct {
	X          Buf
	Heads, Dim int
	W          WeightID
	Eps        float32
}

// Rope rotates the leading channels of every head by position, in place
// (Su et al., arXiv:2104.09864).
type Rope struct {
	X          Buf
	Heads, Dim int
	Table      int // index of Program.Ropes
}

// KVAppend writes the step's K and V rows [kvHeads*headDim] to the pages of a
// layer at each row's position.
type KVAppend struct {
	Layer int
	K, V  Buf
}

// Attend is causal attention of every query row over its sequence's cached
// tokens up to and with its own position; heads share KV heads in groups.
type Attend struct {
	Dst, Q Buf
	Layer  int
	Heads  int
	Scale  float32 // multiplies q.k before softmax
}

// Select copies the rows whose logits are wanted.
type Select struct{ Dst, Src Buf }

func (o Embed) format(p *Program) string {
	return fmt.Sprintf("%s = embed %s * %.6g", p.buf(o.Dst), p.weight(o.Table), o.Scale)
}

func (o RMSNorm) format(p *Program) string {
	return fmt.Sprintf("%s = rmsnorm %s, %s, eps %.3g", p.buf(o.Dst), p.buf(o.Src), p.weight(o.W), o.Eps)
}

func (o AddRMSNorm) format(p *Program) string {
	return fmt.Sprintf("%s += rmsnorm %s, %s, eps %.3g", p.buf(o.X), p.buf(o.Y), p.weight(o.W), o.Eps)
}

func (o Linear) format(p *Program) string {
	parts := make([]string, len(o.Parts))
	for i, t := range o.Parts {
		eq := "="
		if t.Add {
			eq = "+="
		}
		parts[i] = fmt.Sprintf("%s %s %s", p.buf(t.Dst), eq, p.weight(t.W))
		if t.Bias != NoWeight {
			parts[i] += " + " + p.weight(t.Bias)
		}
	}
	return fmt.Sprintf("linear %s: %s", p.buf(o.Src), strings.Join(parts, "; "))
}

func (o GatedLinear) format(p *Program) string {
	return fmt.Sprintf("%s = %s(%s %s) * %s", p.buf(o.Dst), o.Act, p.buf(o.Src), p.weight(o.Gate), p.weight(o.Up))
}

func (o HeadNorm) format(p *Program) string {
	return fmt.Sprintf("%s = headnorm [%d,%d], %s, eps %.3g", p.buf(o.X), o.Heads, o.Dim, p.weight(o.W), o.Eps)
}

func (o Rope) format(p *Program) string {
	return fmt.Sprintf("%s = rope [%d,%d], table %d", p.buf(o.X), o.Heads, o.Dim, o.Table)
}

func (o KVAppend) format(p *Program) string {
	return fmt.Sprintf("kv_append layer %d: %s, %s", o.Layer, p.buf(o.K), p.buf(o.V))
}

func (o Attend) format(p *Program) string {
	k := p.KV[o.Layer]
	return fmt.Sprintf("%s = attend layer %d: %s [%d/%d,%d], scale %.6g, window %d", p.buf(o.Dst), o.Layer, p.buf(o.Q), o.Heads, k.KVHeads, k.HeadDim, o.Scale, k.Window)
}

func (o Select) format(p *Program) string {
	return fmt.Sprintf("%s = select %s", p.buf(o.Dst), p.buf(o.Src))
}
