package graph

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"edged/infer/sample"
	"edged/offload"
	"edged/pinnedmem"
)

// ErrLost is wrapped by a backend whose device will answer no more in this process,
// such as after a kernel that reached for memory that is not its own. What lies on
// the device must not be touched again, not even to be given back.
var ErrLost = errors.New("the device is lost, only a new process can use it again")

// Limits fixes what a compiled program can ever be asked for. Everything is
// allocated for these sizes at compile time.
type Limits struct {
	MaxRows int                     // tokens of one step, all sequences together
	MaxOut  int                     // rows of one step whose logits are wanted
	MaxAsk  int                     // of these, where some are narrowed; 0 = none are
	MaxSeqs int                     // sequences of one step
	Context int                     // largest position plus one
	KV      []offload.LayerPlan     // [layers] how the sequences' pool keeps them
	Threads int                     // CPU threads; other backends ignore it
	Host    *pinnedmem.Host         // pays for weights and activations
	Loaded  func(done, total int64) // weight bytes taken over so far; may be nil
	Copied  func(*Weight)           // the backend made its own copy of a weight, whose Drop may follow; may be nil
}

// Validate names the first limit that is not usable.
func (l Limits) Validate() error {
	for _, f := range []struct {
		name string
		v    int
	}{{"rows", l.MaxRows}, {"outputs", l.MaxOut}, {"sequences", l.MaxSeqs}, {"context", l.Context}, {"threads", l.Threads}} {
		if f.v <= 0 {
			return fmt.Errorf("check step limits: %s is %d, must be at least 1", f.name, f.v)
		}
	}
	for i, p := range l.KV {
		if err := p.Check(); err != nil {
			return fmt.Errorf("check step limits: layer %d: %w", i, err)
		}
	}
	if l.Host == nil {
		return errors.New("check step limits: no host memory account")
	}
	return nil
}

// Rows are the ragged rows of one step: tokens of one or more sequences.
// The rows of one sequence are adjacent, with consecutive positions that start
// at the sequence's length.
type Rows struct {
	Tok []int32 // [nRow] token ids
	Pos []int32 // [nRow] position in the row's sequence
	Seq []int32 // [nRow] index into the step's sequences
	Out []int32 // [nOut] ascending row indexes whose logits are wanted
	// States asks for the normed hidden state of every row instead: what the head
	// would multiply. Out is then empty.
	States bool
	// Prompt: the rows are read, not answered with: tokens of a prompt, however few.
	// A backend may compute them by other means than a row with which a sequence goes
	// on, and then does so with every step that has several rows of a sequence.
	Prompt bool

	// Ask says how rows of logits may be narrowed, [nOut] or none; nil is a row
	// that is wanted whole. It is of no account in parts of prompts.
	Ask []*sample.Ask
}

// Reset empties the rows and keeps their memory.
func (r *Rows) Reset() {
	*r = Rows{Tok: r.Tok[:0], Pos: r.Pos[:0], Seq: r.Seq[:0], Out: r.Out[:0], Ask: r.Ask[:0]}
}

// Add appends one row; want asks for its logits.
func (r *Rows) Add(tok, pos, seq int32, want bool) {
	if want {
		r.Out = append(r.Out, int32(len(r.Tok)))
	}
	r.Tok, r.Pos, r.Seq = append(r.Tok, tok), append(r.Pos, pos), append(r.Seq, seq)
}

// ErrRows is wrapped by the errors of Check.
var ErrRows = errors.New("step rows are not valid")

// Check verifies rows against the limits, the vocabulary and the sequences,
// whose positions must already be reserved. Backends call it first.
func (r *Rows) Check(p *Program, l Limits, kv []*offload.Seq) error {
	n := len(r.Tok)
	if n == 0 || n > l.MaxRows || len(r.Pos) != n || len(r.Seq) != n {
		return fmt.Errorf("%w: %d tokens, %d positions, %d sequence indexes; at most %d rows", ErrRows, n, len(r.Pos), len(r.Seq), l.MaxRows)
	}
	if len(r.Out) > l.MaxOut || len(kv) == 0 || len(kv) > l.MaxSeqs {
		return fmt.Errorf("%w: %d outputs of at most %d, %d sequences of at most %d", ErrRows, len(r.Out), l.MaxOut, len(kv), l.MaxSeqs)
	}
	if err := errors.Join(r.checkStates(p), r.checkAsk(p.Vocab, l)); err != nil {
		return err
	}
	for i, q := range kv {
		if slices.Contains(kv[:i], q) {
			return fmt.Errorf("%w: sequence %d stands in the step twice", ErrRows, i)
		}
	}
	for i, o := range r.Out {
		if o < 0 || int(o) >= n || i > 0 && o <= r.Out[i-1] {
			return fmt.Errorf("%w: output %d is row %d of %d", ErrRows, i, o, n)
		}
	}
	for i, q := range kv {
		if q.Pool() == nil {
			return fmt.Errorf("%w: sequence %d is freed", ErrRows, i)
		}
		if q.Pool().LayerMajor() && !slices.Contains(r.Seq, int32(i)) {
			return fmt.Errorf("%w: sequence %d has no row", ErrRows, i)
		}
	}
	for i := range n {
		if err := r.checkRow(i, p.Vocab, l, kv); err != nil {
			return err
		}
		if i > 0 && r.Seq[i] == r.Seq[i-1] && kv[r.Seq[i]].Pool().LayerMajor() {
			return fmt.Errorf("%w: sequence %d has several rows; its pool reads prompts in parts", ErrRows, r.Seq[i])
		}
	}
	return nil
}

func (r *Rows) checkStates(p *Program) error {
	if r.States && (len(r.Out) > 0 || len(p.Final) == 0) {
		return fmt.Errorf("%w: states are wanted beside %d outputs, of a program with %d ops for them", ErrRows, len(r.Out), len(p.Final))
	}
	return nil
}

// checkAsk verifies what is asked of logits.
func (r *Rows) checkAsk(vocab int, l Limits) error {
	if n := len(r.Ask); n != 0 && (n != len(r.Out) || n > l.MaxAsk) {
		return fmt.Errorf("%w: %d outputs of which %d may be narrowed, of at most %d", ErrRows, len(r.Out), n, l.MaxAsk)
	}
	for i, a := range r.Ask {
		if a == nil {
			continue
		}
		if n := (vocab + 63) / 64; a.Mask != nil && len(a.Mask) != n || a.Edits.Len() > sample.MaxEdits {
			return fmt.Errorf("%w: output %d is narrowed with a mask of %d words, not %d, and %d edits of at most %d", ErrRows, i, len(a.Mask), n, a.Edits.Len(), sample.MaxEdits)
		}
		for _, kind := range [...][]sample.Edit{a.Edits.Repeat, a.Edits.Subtract, a.Edits.Add} {
			for _, e := range kind {
				if e.ID < 0 || int(e.ID) >= vocab {
					return fmt.Errorf("%w: output %d is narrowed with an edit of token %d, vocabulary is %d", ErrRows, i, e.ID, vocab)
				}
			}
		}
	}
	return nil
}

// CheckPart verifies the rows of one part of a prompt. Backends call it first.
func (r *Rows) CheckPart(p *Program, part int, l Limits, q *offload.Seq) error {
	if q.Pool() == nil || !q.Pool().LayerMajor() {
		return fmt.Errorf("%w: the sequence is freed, or its pool reads prompts whole", ErrRows)
	}
	n, end := len(r.Tok), q.Prefilling()
	if part < 0 || part >= len(p.Parts) {
		return fmt.Errorf("%w: part %d of %d", ErrRows, part, len(p.Parts))
	}
	if n == 0 || n > l.MaxRows || len(r.Pos) != n || len(r.Seq) != n || len(r.Out) > l.MaxOut {
		return fmt.Errorf("%w: %d tokens, %d positions, %d sequence indexes of at most %d rows, %d outputs of at most %d",
			ErrRows, n, len(r.Pos), len(r.Seq), l.MaxRows, len(r.Out), l.MaxOut)
	}
	head := part == len(p.Parts)-1
	if err := r.checkStates(p); err != nil {
		return err
	}
	if r.States && !head {
		return fmt.Errorf("%w: states are wanted of part %d of %d", ErrRows, part, len(p.Parts))
	}
	for i, pos := range r.Pos {
		if int(pos) < q.Len() || int(pos) >= end || i > 0 && (pos <= r.Pos[i-1] || !head && pos != r.Pos[i-1]+1) {
			return fmt.Errorf("%w: row %d is at position %d of a prompt from %d to %d", ErrRows, i, pos, q.Len(), end)
		}
		if t := r.Tok[i]; r.Seq[i] != 0 || t < 0 || int(t) >= p.Vocab {
			return fmt.Errorf("%w: row %d is token %d of sequence %d, vocabulary is %d", ErrRows, i, t, r.Seq[i], p.Vocab)
		}
	}
	if outs := len(r.Out); outs != 0 && !head || outs != n && head && !r.States {
		return fmt.Errorf("%w: %d outputs of %d rows in part %d of %d", ErrRows, len(r.Out), n, part, len(p.Parts))
	}
	for i, o := range r.Out {
		if int(o) != i {
			return fmt.Errorf("%w: output %d of the head is row %d", ErrRows, i, o)
		}
	}
	return nil
}

func (r *Rows) checkRow(i, vocab int, l Limits, kv []*offload.Seq) error {
	s := r.Seq[i]
	if s < 0 || int(s) >= len(kv) {
		return fmt.Errorf("%w: row %d is of sequence %d of %d", ErrRows, i, s, len(kv))
	}
	if t := r.Tok[i]; t < 0 || int(t) >= vocab {
		return fmt.Errorf("%w: row %d is token %d, vocabulary is %d", ErrRows, i, t, vocab)
	}
	want := int32(kv[s].Len())
	if i > 0 && r.Seq[i-1] == s {
		want = r.Pos[i-1] + 1
	} else if i > 0 && s <= r.Seq[i-1] {
		return fmt.Errorf("%w: rows of sequence %d are not adjacent and ascending", ErrRows, s)
	}
	if r.Pos[i] != want || int(want) >= l.Context {
		return fmt.Errorf("%w: row %d is at position %d, expected %d below %d", ErrRows, i, r.Pos[i], want, l.Context)
	}
	if int(want) >= kv[s].Reserved() {
		return fmt.Errorf("%w: row %d at position %d lies outside the %d reserved", ErrRows, i, want, kv[s].Reserved())
	}
	return nil
}

// Logits are the rows that a step was asked for, [nOut, Width], valid until
// the next step of the same Exec. Where states were wanted, they are these.
type Logits struct {
	Data   []float32
	Width  int // the vocabulary, or the width of a state
	Stride int // floats from one row to the next

	// Narrow is what is left of rows with an Ask, [nOut] or none; nil is a row that
	// the backend gives whole all the same. Where Fetch is not nil, the others are
	// in Data only once it has brought them.
	Narrow []*sample.Narrow
	Fetch  func(i int) error
}

// Row is the logits of the i-th wanted row, which was not narrowed.
func (l Logits) Row(i int) []float32 { return l.Data[i*l.Stride : i*l.Stride+l.Width] }

// Narrowed is what the i-th wanted row was narrowed to, nil where it was not.
func (l Logits) Narrowed(i int) *sample.Narrow {
	if len(l.Narrow) == 0 {
		return nil
	}
	return l.Narrow[i]
}

// Whole is the logits of the i-th wanted row, brought from where it was narrowed.
func (l Logits) Whole(i int) ([]float32, error) {
	if l.Fetch != nil && l.Narrowed(i) != nil {
		if err := l.Fetch(i); err != nil {
			return nil, fmt.Errorf("bring a row of logits: %w", err)
		}
	}
	return l.Row(i), nil
}

// Backend turns programs into running code on one device.
type Backend interface {
	// Compile allocates everything that the program will ever need within
	// the limits, or fails.
	Compile(*Program, Limits) (Exec, error)
	Close() error
}

// Footprint is the bytes that a program takes when it is compiled, by purpose: of a
// device's memory, and of Limits.Host.
type Footprint struct{ Device, Host pinnedmem.Usage }

// Sizer is a backend that knows what programs will take.
type Sizer interface {
	// Size takes nothing and reads nothing.
	Size(*Program, Limits) (Footprint, error)
}

// DeviceMemory is a backend with memory of its own, where pools' fast tiers
// belong.
type DeviceMemory interface {
	Sizer
	// Memory is an account of it; a budget of 0 bytes is no limit but the device's.
	Memory(budget int64) *pinnedmem.Host
	// FreeMemory is the bytes that programs and pools may still take.
	FreeMemory() (int64, error)
	// Reserve says how many bytes are left to other programs, in place of what the
	// backend thinks right.
	Reserve(bytes int64)
	// Mover copies between it and the host's.
	Mover() offload.Mover
}

// ReadsApart is an Exec that computes a row with which a sequence goes on by other
// means than rows of prompts. A sequence gets the same bits whatever others share its
// steps if no step has both.
type ReadsApart interface{ ReadsApart() bool }

// HiddenStates is an Exec that lets prompts be given up between two parts, and
// taken up again by another Exec of the same program.
type HiddenStates interface {
	// Hidden is where the hidden states of a prompt's first n tokens lie between
	// two parts, [n, width]. It may be read and written by any goroutine until the
	// next part is run.
	Hidden(n int) []float32
}

// Profiler is an Exec that can say where the time of a step goes.
type Profiler interface {
	// Profile runs rows as Step does, and says what each op takes by itself. The
	// sequences are left as by Step.
	Profile(ctx context.Context, rows *Rows, kv []*offload.Seq) ([]OpTime, error)
}

// OpTime is what one op takes in a step, all layers together.
type OpTime struct {
	Name     string  `json:"op"`
	Launches int     `json:"launches"`
	Seconds  float64 `json:"seconds"`
	// Bytes of weights, activations and cache that it moves at least, in the
	// encoding in which the device holds them; 0 where they depend on the data.
	Bytes int64 `json:"bytes"`
}

// Tracer is an Exec that can say when the ops of a step ran.
type Tracer interface {
	// Trace runs rows as Step does, and says when each op ran. The sequences are left as
	// by Step.
	Trace(ctx context.Context, rows *Rows, kv []*offload.Seq) ([]OpSpan, error)
}

// OpSpan is when one op of a step ran, in seconds from the step's begin: from when what it
// waited for had ended until it had.
type OpSpan struct {
	Name       string
	Kernel     string // of the device; empty for copies
	Stream     int    // 0, or that of what ran beside
	Begin, End float64
}

// Exec is a compiled program. It belongs to one goroutine.
type Exec interface {
	// Step runs the rows, writes their K and V to reserved positions of kv,
	// and returns the wanted logits, or states. It does not commit the positions: a step
	// that failed or was cancelled leaves the sequences as they were.
	// Cancelling ctx ends a step early with ctx's error. Where tails are
	// bounded, every sequence has one row.
	Step(ctx context.Context, rows *Rows, kv []*offload.Seq) (Logits, error)
	// Part runs one part of the program over rows of a sequence that reads a
	// prompt (offload.Seq.BeginPrefill). Parts come in order, and within each
	// the prompt's rows in order; the hidden state between parts is the
	// Exec's. The rows of a layer attend exactly to all of the prompt before
	// them, and to earlier tokens as they are kept; with the prompt's last row
	// the layer's records are written. The head takes only rows whose logits, or
	// states, are wanted. Cancelling ends a part early with ctx's error, after which the
	// same rows may be run again.
	Part(ctx context.Context, part int, rows *Rows, q *offload.Seq) (Logits, error)
	Close() error
}
