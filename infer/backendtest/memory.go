package backendtest

import (
	"errors"
	"testing"

	"edged/pinnedmem"
)

func (s *suite) testMemory(t *testing.T) {
	t.Run("budget", s.testBudget)
	t.Run("side_by_side", s.testSideBySide)
	t.Run("closed", s.testClosed)
}

// testBudget finds what a program takes and then allows a little less.
func (s *suite) testBudget(t *testing.T) {
	p := families[0].program(t, s.rng(t))
	l := limits(p, s.opt.Elems[0])
	l.Host = pinnedmem.NewHost(0)
	var done, total int64
	l.Loaded = func(d, n int64) {
		if d < done || d > n {
			t.Errorf("loaded %d of %d bytes after %d", d, n, done)
		}
		done, total = d, n
	}
	exec, err := s.backend.Compile(p, l)
	if err != nil {
		t.Fatal(err)
	}
	if done == 0 || done != total {
		t.Errorf("loading ended at %d of %d bytes", done, total)
	}
	used := l.Host.Usage().Total()
	if used == 0 {
		t.Error("a compiled program takes no host memory")
	}
	if err := exec.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Host.Close(); err != nil {
		t.Error(err)
	}

	l.Host, l.Loaded = pinnedmem.NewHost(used-1), nil
	if exec, err = s.backend.Compile(p, l); !errors.Is(err, pinnedmem.ErrBudget) {
		t.Errorf("compile within %d bytes: error is %v, want pinnedmem.ErrBudget", used-1, err)
	}
	if err == nil {
		_ = exec.Close() // the failure is already reported
	}
	if err := l.Host.Close(); err != nil {
		t.Errorf("after a failed compile: %v", err)
	}
}

// testSideBySide steps two compiled copies of one program in turn.
func (s *suite) testSideBySide(t *testing.T) {
	rng := s.rng(t)
	p := families[1].program(t, rng)
	l := tinyLimits(p, s.opt.Elems[0])
	a, b := newRig(t, s.backend, p, l), newRig(t, s.backend, p, l)
	tok := tinyTokens(rng, 60)
	want := a.feed(a.seq(0), tok, 60)
	qa, qb := a.seq(0), b.seq(0)
	b.feed(qb, tok[:20], 20)
	s.checkAgain(t, "first program", a.feed(qa, tok[:30], 30), want[:30])
	s.checkAgain(t, "second program", b.feed(qb, tok[20:], 40), want[20:])
	s.checkAgain(t, "first program again", a.feed(qa, tok[30:], 7), want[30:])
}

// testClosed steps a program after its end.
func (s *suite) testClosed(t *testing.T) {
	p := families[0].program(t, s.rng(t))
	r := newRig(t, s.judge, p, limits(p, s.opt.Elems[0])) // lends its pool
	l := r.lim
	l.Host = pinnedmem.NewHost(0)
	exec, err := s.backend.Compile(p, l)
	if err != nil {
		t.Fatal(err)
	}
	if err := exec.Close(); err != nil {
		t.Fatal(err)
	}
	in, kv := r.assemble([]piece{{seq: r.seq(0), tok: []int32{1}}})
	if _, err := exec.Step(t.Context(), in, kv); err == nil {
		t.Error("a closed program ran a step")
	}
}
