package infer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// submitAs submits a request of a user's client.
func (m *machine) submitAs(t rapid.TB, owner uint32, client string, ids []int32, maxTok int) *call {
	task, err := m.e.prepare(context.Background(), m.f, "toy", &Request{Prompt: prompt(ids...), MaxTokens: maxTok, Sampling: noEnd(), Owner: owner, Client: client})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.e.submit(task); errors.Is(err, ErrBusy) {
		return nil
	} else if err != nil {
		t.Fatal(err)
	}
	c := &call{t: task, want: toyAnswer(ids, maxTok, toyContext, false)}
	m.calls = append(m.calls, c)
	return c
}

// step is one turn, after which every caller reads.
func (m *machine) step() bool {
	busy := m.turn()
	for _, c := range m.calls {
		c.read()
	}
	return busy
}

// leave cancels every request.
func (m *machine) leave() {
	for _, c := range m.calls {
		c.left = true
		m.e.abandon(c.t)
	}
}

// While a long prompt is read, requests that generate get a token in each step,
// and a short prompt waits for one chunk of it, whoever sends it.
func TestLongPromptLeavesRoomForShortOnes(t *testing.T) {
	for _, c := range []struct {
		name   string
		owner  uint32
		client string
	}{{"another user's", 2, "a"}, {"another client's", 1, "b"}, {"the same client's", 1, "a"}} {
		t.Run(c.name, func(t *testing.T) {
			cfg := toyConfig()
			cfg.CacheTok = 3 * toyContext
			m := loadToy(t, cfg)
			defer m.close(t)
			generating := m.submitAs(t, 1, "c", longPrompt(1, 10), 0)
			m.step()
			long := m.submitAs(t, 1, "a", longPrompt(2, 40*cfg.ChunkTok), 5)
			for range 3 {
				m.step()
			}
			short := m.submitAs(t, c.owner, c.client, longPrompt(3, cfg.ChunkTok), 5)
			for i := range 2 {
				before := generating.t.generated()
				m.step()
				if n := generating.t.generated() - before; n != 1 {
					t.Fatalf("step %d: %d tokens for the request that generates", i, n)
				}
			}
			if short.t.generated() == 0 {
				t.Errorf("the short prompt has not been read after two chunks; %d tokens of the long one are", long.t.seq.Len())
			}
			generating.left = true
			m.e.abandon(generating.t)
			m.finish(t)
		})
	}
}

// A long prompt gets its part, however many short ones come.
func TestShortPromptsDoNotStarveALongOne(t *testing.T) {
	cfg := toyConfig()
	cfg.CacheTok, cfg.CacheSeqs = 3*toyContext, 1
	m := loadToy(t, cfg)
	defer m.close(t)
	const chunks = 20
	long := m.submitAs(t, 1, "a", longPrompt(200, chunks*cfg.ChunkTok), 1)
	steps := 0
	for ; !long.last.done; steps++ {
		if steps > (cfg.MaxSeqs+2)*chunks+10 {
			t.Fatalf("%d tokens of the long prompt are read after %d steps", long.t.seq.Len(), steps)
		}
		for len(m.e.queue)+len(m.o.running) < cfg.MaxSeqs+2 {
			m.submitAs(t, 1, "a", longPrompt(steps, cfg.ChunkTok), 1)
		}
		m.step()
	}
	t.Logf("%d steps for %d chunks", steps, chunks)
	m.finish(t)
}

// A user who has taken every place with long answers gives one to another user
// within a bounded number of steps, and to no other client of the own while the
// places for parked requests are taken.
func TestPlacesAreGivenUp(t *testing.T) {
	cfg := toyConfig()
	cfg.CacheTok = 6 * toyContext
	m := loadToy(t, cfg)
	defer m.close(t)
	for i := range cfg.MaxSeqs + 2 {
		m.submitAs(t, 1, "greedy", longPrompt(i, 20), 0)
	}
	for range 20 {
		m.step()
	}
	other := m.submitAs(t, 2, "x", longPrompt(9, 10), 1)
	bound := leadUnits/(answerUnits*cfg.MaxSeqs) + 3
	for i := 0; !other.last.done; i++ {
		if i > bound {
			t.Fatalf("the other user has no answer after %d steps", i)
		}
		m.step()
	}
	if m.step(); len(m.o.running) != cfg.MaxSeqs {
		t.Errorf("%d requests run", len(m.o.running))
	}
	m.finish(t)
}

// Parking must not undo what was read: nobody computes a token twice while there
// is memory.
func TestParkingKeepsSequences(t *testing.T) {
	cfg := toyConfig()
	cfg.CacheTok, cfg.MaxSeqs, cfg.CacheSeqs = 12*toyContext, 2, 8
	m := loadToy(t, cfg)
	defer m.close(t)
	want := 0
	for i := range 4 {
		c := m.submitAs(t, uint32(i), "", longPrompt(i*17+1, 100), 800)
		want += len(c.t.ids) + len(c.want) - 1 // the last token is not evaluated
	}
	rows, parked := 0, 0
	for m.turn() {
		rows += len(m.o.rows.Tok)
		parked = max(parked, len(m.o.parked))
		for _, c := range m.calls {
			c.read()
		}
	}
	if rows != want || parked == 0 {
		t.Errorf("%d tokens were evaluated, %d at the most parked; want %d tokens", rows, parked, want)
	}
	m.finish(t)
}

// A request whose caller does not read gives its place to one that waits.
func TestPausedRequestGivesItsPlace(t *testing.T) {
	cfg := toyConfig()
	cfg.CacheTok, cfg.MaxSeqs = 4*toyContext, 1
	m := loadToy(t, cfg)
	defer m.close(t)
	slow := m.submit(t, longPrompt(1, 30), 0)
	for m.turn() {
	}
	if !slow.t.out.full() {
		t.Fatal("the request is not paused")
	}
	other := m.submit(t, longPrompt(2, 30), 100)
	for !other.last.done {
		if !m.turn() {
			t.Fatal("the other request does not get on")
		}
		other.read()
	}
	m.finish(t)
}

// A full queue still takes one request of a user who has none in it.
func TestFullQueueTakesOtherUsers(t *testing.T) {
	cfg := toyConfig()
	m := loadToy(t, cfg)
	defer m.close(t)
	m.e.slotTime = 6 * time.Second
	for i := range cfg.MaxSeqs + cfg.MaxQueue {
		if m.submitAs(t, 1, "", longPrompt(i, 5), 5) == nil {
			t.Fatalf("request %d is refused", i)
		}
	}
	err := m.e.admit("toy", 1)
	want := &BusyError{Queued: cfg.MaxQueue, Limit: cfg.MaxQueue, Wait: 6 * time.Second * time.Duration(cfg.MaxQueue) / time.Duration(cfg.MaxSeqs)}
	if diff := cmp.Diff(error(want), err); diff != "" {
		t.Errorf("one more (-want +got):\n%s", diff)
	}
	for user := range 2 * cfg.MaxQueue {
		c := m.submitAs(t, uint32(100+user), "", longPrompt(user, 5), 5)
		if taken := c != nil; taken != (user < cfg.MaxQueue) {
			t.Errorf("user %d: taken: %v", user, taken)
		}
		if c != nil && m.submitAs(t, uint32(100+user), "", longPrompt(user, 5), 5) != nil {
			t.Errorf("user %d has two requests beyond the limit", user)
		}
	}
	m.finish(t)
}

// A request waits for so long, and no longer; one that has begun is not ended.
func TestQueueTimeout(t *testing.T) {
	cfg := toyConfig()
	cfg.MaxSeqs, cfg.QueueTimeout = 1, 30*time.Second
	m := loadToy(t, cfg)
	defer m.close(t)
	first, second := m.submit(t, longPrompt(1, 5), 40), m.submit(t, longPrompt(2, 5), 40)
	m.step()
	for _, c := range m.calls {
		m.e.expire(c.t)
	}
	second.read()
	var wait *WaitError
	if !errors.As(second.last.err, &wait) || *wait != (WaitError{Limit: 30 * time.Second, Queued: 1}) || !errors.Is(second.last.err, ErrBusy) {
		t.Errorf("got %v", second.last.err)
	}
	second.left = true
	m.step()
	if len(m.e.queue) != 0 {
		t.Error("the request is still in the queue")
	}
	m.e.expire(second.t) // once more
	m.finish(t)
	if first.last.err != nil {
		t.Errorf("the one that had begun: %v", first.last.err)
	}
}

// worker is a client of the simulation that always has some requests under way.
type worker struct {
	owner    uint32
	client   string
	parallel int // requests at a time
	prompt   int // tokens
	answer   int // tokens
	calls    []*call
	served   float64 // units
	n        int
}

// units is what a request was served so far, as it is charged.
func (c *call) units() float64 {
	p := float64(c.t.nPrompt)
	return promptUnits*min(c.t.paid, p) + answerUnits*max(c.t.paid-p, 0)
}

// simulate runs workers for a number of turns and returns what each was served
// after the first quarter.
func simulate(t testing.TB, cfg Config, ws []*worker, turns int) []float64 {
	m := loadToy(t, cfg)
	defer m.close(t)
	before := make([]float64, len(ws))
	total := func(w *worker) float64 {
		n := w.served
		for _, c := range w.calls {
			n += c.units()
		}
		return n
	}
	for turn := range turns {
		for i, w := range ws {
			w.refill(t, m, i)
		}
		if turn == turns/4 {
			for i, w := range ws {
				before[i] = total(w)
			}
		}
		if !m.step() {
			t.Fatalf("turn %d: nothing to do", turn)
		}
		m.calls = slices.DeleteFunc(m.calls, func(c *call) bool {
			if c.last.done {
				c.check(t, turn)
			}
			return c.last.done
		})
	}
	got := make([]float64, len(ws))
	for i, w := range ws {
		got[i] = total(w) - before[i]
	}
	m.leave()
	m.finish(t)
	return got
}

// refill books what has ended and submits as many requests again.
func (w *worker) refill(t rapid.TB, m *machine, tag int) {
	kept := w.calls[:0]
	for _, c := range w.calls {
		if c.last.done {
			w.served += c.units()
		} else {
			kept = append(kept, c)
		}
	}
	w.calls = kept
	for len(w.calls) < w.parallel {
		w.n++
		ids := longPrompt(tag*7919+w.n*31+1, w.prompt)
		ids[0] = int32(tag) // nobody's prompt begins as another's
		w.calls = append(w.calls, m.submitAs(t, w.owner, w.client, ids, w.answer))
	}
}

// jain is the fairness index of shares: 1 when all are equal, 1/n when one has all.
func jain(xs []float64) float64 {
	var sum, squares float64
	for _, x := range xs {
		sum, squares = sum+x, squares+x*x
	}
	return sum * sum / (float64(len(xs)) * squares)
}

func fairConfig() Config {
	cfg := toyConfig()
	cfg.MaxSeqs, cfg.MaxQueue, cfg.CacheSeqs, cfg.CacheTok, cfg.ChunkTok = 4, 500, 8, 12*toyContext, 64
	return cfg
}

// Clients with very different loads, all of which ask for more than their part.
func TestClientsAreServedEqually(t *testing.T) {
	ws := []*worker{
		{client: "long prompts", parallel: 2, prompt: 800, answer: 4},
		{client: "long answers", parallel: 4, prompt: 10, answer: 600},
		{client: "many", parallel: 30, prompt: 60, answer: 30},
		{client: "tiny", parallel: 12, prompt: 8, answer: 4},
		{client: "even", parallel: 3, prompt: 200, answer: 200},
		{client: "one more", parallel: 2, prompt: 300, answer: 60},
	}
	got := simulate(t, fairConfig(), ws, 40_000)
	t.Logf("units: %.0f, index %.4f", got, jain(got))
	if j := jain(got); j < 0.95 {
		t.Errorf("fairness index %.3f of %.0f", j, got)
	}
}

// Users are served equally, however many clients they run.
func TestUsersAreServedEqually(t *testing.T) {
	ws := []*worker{{owner: 1, client: "alone", parallel: 4, prompt: 100, answer: 100}}
	for i := range 8 {
		ws = append(ws, &worker{owner: 2, client: fmt.Sprint(i), parallel: 1 + i, prompt: 50 + 90*i, answer: 20 + 50*(i%3)})
	}
	got := simulate(t, fairConfig(), ws, 40_000)
	others := 0.0
	for _, n := range got[1:] {
		others += n
	}
	users := []float64{got[0], others}
	t.Logf("users %.0f, index %.4f; clients of the second %.0f, index %.4f", users, jain(users), got[1:], jain(got[1:]))
	if jain(users) < 0.95 || jain(got[1:]) < 0.95 {
		t.Errorf("fairness index of users %.3f, of clients %.3f", jain(users), jain(got[1:]))
	}
}
