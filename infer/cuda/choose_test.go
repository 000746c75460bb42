package cuda

import (
	"cmp"
	"errors"
	goflag "flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"edged/cudakern"
	"edged/cudakern/driver"
	"edged/infer/graph"
	"edged/offload"
	"edged/pinnedmem"
)

const (
	choiceRows   = 2
	choiceHeads  = 2                        // KV heads
	choices      = choiceRows * choiceHeads // of a launch
	choiceRecord = 128                      // bytes
)

// choiceSeed repeats a choice.
var choiceSeed = goflag.Uint64("choiceseed", 0, "seed of TestChoosePages; 0 takes fresh ones")

// choiceCase is a choice by made-up scores, among more pages than a conformance model has.
type choiceCase struct {
	pages, budget, exchange, group int
	held                           int
	gain                           float32
	byRecord, fetches              bool
	scanned, arrived               uint32                   // blocks of a scan that are waited for, and that come
	scores                         func(*rand.Rand) float32 // of a page and query head
	alike                          bool                     // the same for all query heads
}

func (c choiceCase) String() string {
	return fmt.Sprintf("%d of %d pages, %d held, %d exchanged, %d heads, gain %g, by record %v, fetches %v", c.budget, c.pages, c.held, c.exchange, c.group, c.gain, c.byRecord, c.fetches)
}

// TestChoosePages compares choose_pages with a plain choice by the same scores.
func TestChoosePages(t *testing.T) {
	b := Open(t)
	normal := func(sigma float64) func(*rand.Rand) float32 {
		return func(r *rand.Rand) float32 { return float32(r.NormFloat64() * sigma) }
	}
	long := choiceCase{pages: 8176, budget: 64, exchange: 10, group: 4, held: 64, gain: 1.5, byRecord: true, scores: normal(1), scanned: 3, arrived: 3}
	change := func(f func(*choiceCase)) choiceCase { c := long; f(&c); return c }
	for name, c := range map[string]choiceCase{
		"long":          long,
		"by index":      change(func(c *choiceCase) { c.byRecord, c.gain = false, 0 }),
		"much moves":    change(func(c *choiceCase) { c.exchange = 40 }),
		"all move":      change(func(c *choiceCase) { c.exchange = 64 }),
		"empty set":     change(func(c *choiceCase) { c.held = 0 }),
		"partly filled": change(func(c *choiceCase) { c.held = 23 }),
		"peaked":        change(func(c *choiceCase) { c.scores = normal(30) }),
		"far apart":     change(func(c *choiceCase) { c.scores = normal(300) }),
		"alike":         change(func(c *choiceCase) { c.scores, c.alike = func(*rand.Rand) float32 { return 1 }, true }),
		"three scores": change(func(c *choiceCase) {
			c.scores, c.alike = func(r *rand.Rand) float32 { return float32(r.IntN(3)) }, true
		}),
		"few above many": change(func(c *choiceCase) {
			c.scores, c.alike = func(r *rand.Rand) float32 { return float32(5 * (r.IntN(200) / 199)) }, true
		}),
		"not numbers": change(func(c *choiceCase) {
			c.scores, c.alike = func(r *rand.Rand) float32 {
				if r.IntN(100) == 0 {
					return float32(math.NaN())
				}
				return float32(r.NormFloat64())
			}, true
		}),
		"one head":      change(func(c *choiceCase) { c.group = 1 }),
		"nine heads":    change(func(c *choiceCase) { c.group, c.fetches = 9, true }),
		"large sets":    change(func(c *choiceCase) { c.budget, c.held, c.exchange = 300, 300, 100 }),
		"larger sets":   change(func(c *choiceCase) { c.budget, c.held, c.exchange = 2000, 1500, 600 }),
		"least budget":  change(func(c *choiceCase) { c.budget, c.held, c.exchange = 2, 2, 1 }),
		"short":         change(func(c *choiceCase) { c.pages, c.budget, c.held, c.exchange = 500, 64, 64, 20 }),
		"a page over":   change(func(c *choiceCase) { c.pages, c.budget, c.held = 65, 64, 64 }),
		"not yet full":  change(func(c *choiceCase) { c.pages, c.held = 60, 51 }),
		"first records": change(func(c *choiceCase) { c.pages, c.held = 1, 0 }),
		"by scan's end": change(func(c *choiceCase) { c.scanned = 0 }),
		"scan is late":  change(func(c *choiceCase) { c.arrived = 2 }),
		"many heads":    change(func(c *choiceCase) { c.group, c.fetches = 37, true }),
		"longest":       change(func(c *choiceCase) { c.pages, c.budget, c.held, c.exchange = 20000, 256, 256, 40 }),
	} {
		for range 5 {
			seed := cmp.Or(*choiceSeed, rand.Uint64())
			if ok := t.Run(name, func(t *testing.T) { newChoiceRun(t, b, c, seed).check() }); !ok {
				t.Fatalf("%v: -choiceseed=%d", c, seed)
			}
		}
	}
}

// choiceRun is choices of some rows. Row r is of the last sequence but r, which has set r + 1; a head below
// is a KV head of a row.
type choiceRun struct {
	choiceCase
	t *testing.T
	b *Backend
	r *rand.Rand

	maxPages int
	memory   [][]byte
	top      []float32   // [choices * group, maxPages]
	lists    [2][]uint32 // [choices * (1 + 2*budget)] before and after
	sources  []uint32    // [choices, budget]
	sets     []byte      // [choices, budget] records
	units    []byte      // [pages in units of blockPages][choiceHeads] records
	table    []uint32    // [units]
}

func newChoiceRun(t *testing.T, b *Backend, c choiceCase, seed uint64) *choiceRun {
	r := &choiceRun{choiceCase: c, t: t, b: b, r: rand.New(rand.NewPCG(seed, 1))}
	t.Cleanup(func() {
		for _, m := range r.memory {
			if err := b.dev.FreeManaged(m); err != nil {
				t.Error(err)
			}
		}
	})
	r.launch()
	return r
}

// alloc gives memory that the device reaches too.
func (r *choiceRun) alloc(bytes int) ([]byte, driver.Ptr) {
	r.t.Helper()
	m, err := r.b.dev.AllocManaged(int64(max(bytes, 16)))
	if err != nil {
		r.t.Fatal(err)
	}
	r.memory = append(r.memory, m)
	return m, driver.Address(m)
}

// put gives memory with such numbers.
func put[T uint32 | float32](r *choiceRun, v []T) ([]byte, driver.Ptr) {
	r.t.Helper()
	m, at := r.alloc(4 * len(v))
	copy(pinnedmem.View[T](m), v)
	return m, at
}

func (r *choiceRun) words(v []uint32) ([]byte, driver.Ptr) { return put(r, v) }

func (r *choiceRun) floats(v []float32) driver.Ptr {
	_, at := put(r, v)
	return at
}

func wordsOf(m []byte, n int) []uint32 { return slices.Clone(pinnedmem.View[uint32](m)[:n]) }

// fill makes scores, and sets that hold some of the pages at some of the places.
func (r *choiceRun) fill() {
	r.top = make([]float32, choices*r.group*r.maxPages)
	for i := range r.top {
		r.top[i] = r.scores(r.r)
		if h := i / r.maxPages; r.alike && h%r.group > 0 {
			r.top[i] = r.top[i-r.maxPages]
		}
	}
	for range choices {
		pages := slices.Sorted(slices.Values(r.r.Perm(r.pages)[:r.held]))
		list := make([]uint32, 1+2*r.budget)
		list[0] = uint32(r.held)
		for i, p := range pages {
			list[1+i] = uint32(p)
		}
		for i, p := range r.r.Perm(r.budget) {
			list[1+r.budget+i] = uint32(p)
		}
		r.lists[0] = append(r.lists[0], list...)
	}
	r.units = make([]byte, ceil(r.pages, blockPages)*blockPages*choiceHeads*choiceRecord)
	for i := range r.units {
		r.units[i] = byte(r.r.Uint32())
	}
	for _, u := range r.r.Perm(ceil(r.pages, blockPages)) {
		r.table = append(r.table, uint32(u))
	}
}

func (r *choiceRun) list(when, head int) []uint32 {
	n := 1 + 2*r.budget
	return r.lists[when][head*n : (head+1)*n]
}

// has says whether a set's list has a page, before or after.
func (r *choiceRun) has(when, head, page int) bool {
	l := r.list(when, head)
	_, ok := slices.BinarySearch(l[1:1+l[0]], uint32(page))
	return ok
}

func (r *choiceRun) isHeld(head, page int) bool { return r.has(0, head, page) }

// moved are the pages that came to a set, and those that left it.
func (r *choiceRun) moved(head int) (in, out []int) {
	gone := func(from, to int) (x []int) {
		l := r.list(from, head)
		for _, p := range l[1 : 1+l[0]] {
			if !r.has(to, head, int(p)) {
				x = append(x, int(p))
			}
		}
		return x
	}
	return gone(1, 0), gone(0, 1)
}

func number(score float32) float64 {
	if !(score < 1e38) {
		return 1e38
	}
	return float64(score)
}

// sums are what scan leaves of blocks.
func (r *choiceRun) sums() (sums []float32) {
	for h := range choices * r.group {
		for b := range r.maxPages / blockPages {
			most, sum := -3e38, 0.0
			each := func(f func(score float64)) {
				for p := b * blockPages; p < min((b+1)*blockPages, r.pages); p++ {
					if !r.byRecord || !r.isHeld(h/r.group, p) {
						f(number(r.top[h*r.maxPages+p]))
					}
				}
			}
			each(func(x float64) { most = max(most, x) })
			each(func(x float64) { sum += math.Exp(x - most) })
			sums = append(sums, float32(most), float32(sum))
		}
	}
	return sums
}

// shares are the logarithms by which pages are chosen.
func (r *choiceRun) shares(head int) []float64 {
	share := slices.Repeat([]float64{math.Inf(-1)}, r.pages)
	for h := head * r.group; h < (head+1)*r.group; h++ {
		top := r.top[h*r.maxPages : h*r.maxPages+r.pages]
		most, sum := math.Inf(-1), 0.0
		for _, x := range top {
			most = max(most, number(x))
		}
		for _, x := range top {
			sum += math.Exp(number(x) - most)
		}
		for p, x := range top {
			share[p] = max(share[p], number(x)-most-math.Log(sum))
		}
	}
	for p := range share {
		if r.isHeld(head, p) {
			share[p] += float64(r.gain)
		}
	}
	share[0], share[r.pages-1] = math.Inf(1), math.Inf(1)
	return share
}

func (r *choiceRun) launch() {
	r.t.Helper()
	r.maxPages = ceil(r.pages, 32) * 32
	r.fill()
	var plan offload.LayerPlan
	plan.Budget = r.budget
	e := &exec{backend: r.b, lim: graph.Limits{Context: r.maxPages * offload.ColdTok}}
	pad := slices.Repeat([]uint32{0xdead}, choiceHeads*(1+2*r.budget)) // the first set
	seqs, seq := make([]uint32, 0, 4*choiceRows), make([]uint32, 0, choiceRows)
	for i := range choiceRows {
		seqs = append(seqs, 0, uint32(choiceRows-i), 0, uint32(r.pages*offload.ColdTok))
		seq = append(seq, uint32(choiceRows-1-i))
	}
	lists, listsAt := r.words(append(pad, r.lists[0]...))
	sources, sourcesAt := r.words(slices.Repeat([]uint32{7}, choices*r.budget))
	arrived, arrivedAt := r.words(slices.Repeat([]uint32{r.arrived}, choices))
	_, table := r.words(slices.Repeat(r.table, choiceRows))
	_, seqsAt := r.words(seqs)
	_, seqAt := r.words(seq)
	traffic, trafficAt := r.words(make([]uint32, 2*trafficWords))
	sets, setsAt := r.alloc((choiceHeads + choices) * r.budget * choiceRecord)
	units, unitsAt := r.alloc(len(r.units))
	copy(units, r.units)
	q, end, err := r.b.gpu.Queue()
	if err != nil {
		r.t.Fatal(err)
	}
	var cmds batch
	cmds.launch("choose_pages", driver.Dim{X: choiceHeads, Y: choiceRows}, chooseThreads, e.choiceShared(plan), cudakern.ChoosePages{
		Top: r.floats(r.top), Sums: r.floats(r.sums()), Chosen: listsAt, Sources: sourcesAt, Arrived: arrivedAt, Sets: setsAt, Units: unitsAt, Table: table, Seqs: seqsAt, Seq: seqAt, Traffic: trafficAt,
		UnitBytes: blockPages * choiceHeads * choiceRecord, TableStride: uint32(len(r.table)), Heads: uint32(choiceHeads * r.group), KVHeads: choiceHeads,
		Budget: uint32(r.budget), Exchange: uint32(r.exchange), MaxPages: uint32(r.maxPages), RecordBytes: choiceRecord, ByRecord: flag(r.byRecord), Fetches: flag(r.fetches), Scanned: r.scanned, Gain: r.gain,
	})
	cmds.order()
	if err := errors.Join(q.Run(cmds.cmds), q.Wait(), end()); err != nil {
		r.t.Fatal(err)
	}
	if got := wordsOf(lists, len(pad)); !slices.Equal(got, pad) {
		r.t.Error("the list of another set was written")
	}
	r.lists[1] = wordsOf(lists, len(pad)+len(r.lists[0]))[len(pad):]
	r.sources = wordsOf(sources, choices*r.budget)
	r.sets = slices.Clone(sets[choiceHeads*r.budget*choiceRecord:])
	r.checkTraffic(wordsOf(traffic, 2*trafficWords))
	if got := wordsOf(arrived, choices); !slices.Equal(got, make([]uint32, choices)) {
		r.t.Errorf("%v blocks of a scan have arrived after a choice", got)
	}
}

// checkTraffic checks what a launch has counted.
func (r *choiceRun) checkTraffic(got []uint32) {
	r.t.Helper()
	var want [trafficWords]uint32
	for head := range choices {
		after := r.list(1, head)
		in, _ := r.moved(head)
		come := uint32(len(in))
		want[0] += uint32(r.pages)
		want[1] += after[0]
		want[2] += after[0] - come
		want[3] += come * choiceRecord * flag(r.fetches)
		want[4] += uint32(r.pages) * choiceRecord
	}
	for i, n := range want {
		if got[2*i] != n || got[2*i+1] != 0 {
			r.t.Errorf("traffic %d: %d, want %d", i, got[2*i], n)
		}
	}
}

// wants is the plain choice: which pages come and which leave.
func (r *choiceRun) wants(head int, share []float64) (in, out []int) {
	order := make([]int, r.pages)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(share[b], share[a]) })
	wanted := order[:min(r.budget, r.pages)]
	for _, p := range wanted {
		if !r.isHeld(head, p) {
			in = append(in, p)
		}
	}
	chosen := slices.Sorted(slices.Values(wanted))
	l := r.list(0, head)
	for _, p := range l[1 : 1+l[0]] {
		if _, ok := slices.BinarySearch(chosen, int(p)); !ok {
			out = append(out, int(p))
		}
	}
	if free := len(in) - len(out); len(out) > r.exchange {
		slices.SortStableFunc(out, func(a, b int) int { return cmp.Compare(share[a], share[b]) })
		in, out = in[:free+r.exchange], out[:r.exchange]
	}
	slices.Sort(in)
	slices.Sort(out)
	return in, out
}

// check compares what became of the sets.
func (r *choiceRun) check() {
	for head := range choices {
		share := r.shares(head)
		in, out := r.wants(head, share)
		if now := r.list(1, head); !slices.IsSorted(now[1 : 1+now[0]]) {
			r.t.Fatalf("the list is not in order: %v", now)
		}
		gotIn, gotOut := r.moved(head)
		r.sameBut(share, in, gotIn, "come")
		r.sameBut(share, out, gotOut, "leave")
		r.places(head, gotIn, gotOut)
	}
}

// sameBut compares lists of pages, but for such whose shares differ by what float32 rounds.
func (r *choiceRun) sameBut(share []float64, want, got []int, what string) {
	r.t.Helper()
	if len(want) != len(got) {
		r.t.Fatalf("%d pages %s, %d should", len(got), what, len(want))
	}
	only := func(a, b []int) (x []float64) {
		for _, p := range a {
			if !slices.Contains(b, p) {
				x = append(x, share[p])
			}
		}
		slices.Sort(x)
		return x
	}
	a, b := only(want, got), only(got, want)
	for i := range a {
		if d := math.Abs(a[i] - b[i]); d > 1e-5*max(1, math.Abs(a[i])) || r.alike {
			r.t.Fatalf("%d pages %s that should not; one of share %g, not %g\nwant %v\ngot %v", len(b), what, b[i], a[i], want, got)
		}
	}
}

// places checks where pages lie, what is said of how they get there, and records.
func (r *choiceRun) places(head int, in, out []int) {
	r.t.Helper()
	before, after := r.list(0, head), r.list(1, head)
	at := map[int]uint32{}
	free := slices.Clone(before[1+r.budget+int(before[0]):])
	for i, p := range before[1 : 1+before[0]] {
		if slices.Contains(out, int(p)) {
			free = append(free, before[1+r.budget+i])
		} else {
			at[int(p)] = before[1+r.budget+i]
		}
	}
	sources := slices.Repeat([]uint32{math.MaxUint32}, r.budget)
	for i, p := range in {
		at[p] = free[i]
		sources[free[i]] = r.table[p/blockPages]*blockPages + uint32(p%blockPages)
	}
	want := make([]uint32, 0, r.budget)
	for _, p := range after[1 : 1+after[0]] {
		want = append(want, at[int(p)])
	}
	want = append(want, free[len(in):]...)
	if diff := gocmp.Diff(want, after[1+r.budget:]); diff != "" {
		r.t.Fatalf("places (-want +got):\n%s", diff)
	}
	for place, from := range sources {
		record, want := r.sets[(head*r.budget+place)*choiceRecord:][:choiceRecord], make([]byte, choiceRecord)
		if r.fetches && from != math.MaxUint32 {
			want = r.units[(int(from)*choiceHeads+head%choiceHeads)*choiceRecord:][:choiceRecord]
		}
		if !slices.Equal(record, want) {
			r.t.Fatalf("place %d has another record than it should, of %#x", place, from)
		}
		got := r.sources[head*r.budget+place]
		if want := from; !r.fetches && got != want || r.fetches && got != math.MaxUint32 {
			r.t.Fatalf("place %d: source %#x, want %#x", place, got, want)
		}
	}
}
