package cuda

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"testing"

	"edged/cudakern/driver"
	"edged/infer/gguf"
	"edged/infer/graph"
	"edged/offload"
	"edged/pinnedmem"
)

// TestSize: what a program is said to take is what it takes.
func TestSize(t *testing.T) {
	for _, typ := range gguf.Types() {
		for name, change := range map[string]func(*graph.Program, *graph.Limits){
			"plain":  func(*graph.Program, *graph.Limits) {},
			"narrow": func(_ *graph.Program, l *graph.Limits) { l.MaxAsk = 4 },
			"paged": func(p *graph.Program, l *graph.Limits) {
				keepAs(p, l, offload.LayerPlan{Class: offload.Paged, Elem: offload.Q8, Group: 16, Tail: 64, Budget: 4, Exchange: 2})
			},
		} {
			t.Run(fmt.Sprint(typ, name), func(t *testing.T) {
				f, p, host := newFake(t), toy(typ), pinnedmem.NewHost(0)
				l := toyLimits(p, host)
				change(p, &l)
				b := f.backend()
				got, err := b.Size(p, l)
				if n := host.Usage().Total() + fakeInfo.Bytes - f.free; err != nil || n > 0 {
					t.Fatalf("sizing took %d bytes: %v", n, err)
				}
				x, err := b.Compile(p, l)
				if err != nil {
					t.Fatal(err)
				}
				if taken := fakeInfo.Bytes - f.free; got.Device.Total() != taken || got.Host != host.Usage() {
					t.Errorf("%v; it takes %d bytes of the device and %v", got, taken, host.Usage())
				}
				if err := x.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestWhatFits: where activations have no room, what is said to fit does, and a
// little more does not.
func TestWhatFits(t *testing.T) {
	p := toy(gguf.Q4_K)
	host := pinnedmem.NewHost(0)
	l := toyLimits(p, host)
	keepAs(p, &l, offload.LayerPlan{Class: offload.Dense, Elem: offload.Q8, Group: 32, Tail: 96})
	l.Context, p.Context = 4096, 4096
	size := func(l graph.Limits) int64 {
		n, err := newFake(t).backend().Size(p, l)
		if err != nil {
			t.Fatal(err)
		}
		return n.Device.Total()
	}
	free := size(l) - 300_000
	compile := func(l graph.Limits) error {
		f := newFake(t)
		f.free = free + reserveBytes
		x, err := f.backend().Compile(p, l)
		if err == nil {
			t.Cleanup(func() { _ = x.Close() })
		}
		return err
	}
	err := compile(l)
	m := regexp.MustCompile(`what fits: steps of (\d+) rows, not 200, or a context of (\d+) tokens, not 4096$`).FindStringSubmatch(fmt.Sprint(err))
	if !errors.Is(err, ErrMemory) || m == nil {
		t.Fatalf("error is %v", err)
	}
	rows, _ := strconv.Atoi(m[1])
	context, _ := strconv.Atoi(m[2])
	for _, c := range []struct {
		rows, context int
		fits          bool
	}{{rows, 4096, true}, {rows + 1, 4096, false}, {200, context, true}, {200, context + offload.PageTok, false}} {
		small := l
		small.MaxRows, small.Context = c.rows, c.context
		if fits := size(small) <= free; fits != c.fits {
			t.Errorf("steps of %d rows and a context of %d: %t", c.rows, c.context, fits)
		}
	}
}

func TestReserve(t *testing.T) {
	plain, hidden := driver.Found{Usable: true}, driver.Found{Display: true}
	screen, drawing := driver.Found{Usable: true, Display: true}, driver.Found{Usable: true, Graphics: 2}
	for _, c := range []struct {
		found   []driver.Found
		ordinal int
		want    int64
	}{
		{nil, 0, reserveBytes}, {[]driver.Found{plain}, 0, reserveBytes}, {[]driver.Found{screen}, 0, drawingReserve},
		{[]driver.Found{drawing}, 0, drawingReserve}, {[]driver.Found{hidden, plain}, 0, reserveBytes},
		{[]driver.Found{plain, screen}, 0, reserveBytes}, {[]driver.Found{plain, screen}, 1, drawingReserve}, {[]driver.Found{screen}, 1, reserveBytes},
	} {
		if got := reserveFor(c.found, c.ordinal); got != c.want {
			t.Errorf("device %d of %+v: %d", c.ordinal, c.found, got)
		}
	}
	b := newFake(t).backend()
	before, err := b.FreeMemory()
	if err != nil {
		t.Fatal(err)
	}
	b.Reserve(reserveBytes + 1000)
	if after, err := b.FreeMemory(); err != nil || before-after != 1000 {
		t.Errorf("%d bytes free, %d with 1000 more in reserve: %v", before, after, err)
	}
}
