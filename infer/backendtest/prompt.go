package backendtest

import (
	"edged/infer/graph"
	"edged/offload"
)

// prompt appends tokens to a sequence as its pool wants a prompt to be read,
// in chunks of the sizes that chunk gives. It returns the logits of the tokens
// that out names; nil means all.
func (r *rig) prompt(q *offload.Seq, tok []int32, chunk func() int, out func(int) bool) rows {
	r.t.Helper()
	if !r.pool.LayerMajor() {
		return r.steps(q, tok, chunk, out)
	}
	if err := q.BeginPrefill(len(tok)); err != nil {
		r.t.Fatal(err)
	}
	mixBlocks(q)
	for part := range r.layers() {
		for lo := 0; lo < len(tok); {
			n := min(chunk(), r.lim.MaxRows, len(tok)-lo)
			r.part(part, q, tok, span(lo, lo+n), false)
			lo += n
			if r.between != nil {
				r.between()
			}
		}
	}
	got := r.headRows(q, tok, out)
	if err := q.EndPrefill(); err != nil {
		r.t.Fatal(err)
	}
	return got
}

// steps is a prompt that is read in steps.
func (r *rig) steps(q *offload.Seq, tok []int32, chunk func() int, out func(int) bool) rows {
	r.t.Helper()
	var got rows
	for lo := 0; lo < len(tok); {
		n := min(chunk(), r.lim.MaxRows, r.lim.MaxOut, len(tok)-lo)
		from := lo
		got = append(got, r.step(piece{seq: q, tok: tok[lo : lo+n], out: func(i int) bool { return out == nil || out(from+i) }})...)
		lo += n
	}
	return got
}

func (r *rig) layers() int { return r.pool.Layers() }

// part runs one part over the rows of a prompt that at lists.
func (r *rig) part(part int, q *offload.Seq, tok []int32, at []int, head bool) rows {
	r.t.Helper()
	l, err := r.exec.Part(r.t.Context(), part, partRows(q, tok, at, head), q)
	if err != nil {
		r.t.Fatalf("part %d: %v", part, err)
	}
	if !head {
		return nil
	}
	return copyRows(l)
}

func partRows(q *offload.Seq, tok []int32, at []int, head bool) *graph.Rows {
	in := &graph.Rows{}
	for _, i := range at {
		in.Add(tok[i], int32(q.Len()+i), 0, head)
	}
	return in
}

// headRows runs the head over the wanted rows.
func (r *rig) headRows(q *offload.Seq, tok []int32, out func(int) bool) rows {
	r.t.Helper()
	var got rows
	var at []int
	for i := range tok {
		if out == nil || out(i) {
			at = append(at, i)
		}
		if n := len(at); n > 0 && (n == min(r.lim.MaxOut, r.lim.MaxRows) || i == len(tok)-1) {
			got = append(got, r.part(r.layers(), q, tok, at, true)...)
			at = nil
		}
	}
	return got
}

// span is the numbers [lo, hi).
func span(lo, hi int) []int {
	x := make([]int, hi-lo)
	for i := range x {
		x[i] = lo + i
	}
	return x
}

// mixBlocks exchanges unwritten units within every second layer of a sequence
// whose prompt begins, as mixPages does for steps.
func mixBlocks(q *offload.Seq) {
	for layer := 1; layer < q.Pool().Layers(); layer += 2 {
		unit, from, to := offload.BlockTok, 0, 0
		switch p := q.Pool().Plan(layer); {
		case p.Class == offload.Exact:
			unit, from, to = offload.PageTok, q.Len(), q.Prefilling()
		case p.Class.Stored():
			from, to = q.Flush(q.Prefilling())
		}
		first, last := (from+unit-1)/unit, (to+unit-1)/unit-1
		if table := q.Table(layer); first < last {
			table[first], table[last] = table[last], table[first]
		}
	}
}
