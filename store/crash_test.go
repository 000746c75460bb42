package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// A worker is a process that does everything that changes a store, as a seed
// says, and writes a line before and after each step. Killed anywhere, or
// with its writes replayed in part, it must leave what its lines promise.

// workerEnv makes the test binary a worker.
const workerEnv = "EDGED_STORE_WORKER"

// longEnv makes the random tests run as often as rapid does by default.
const longEnv = "EDGED_STORE_LONG"

// crashPointsEnv sets how often TestKill kills: 500 is the long run.
const crashPointsEnv = "EDGED_STORE_CRASH_POINTS"

const workerUID = 1000

// workerSession is what a worker knows of a session: a function of the seed.
type workerSession struct {
	Name   string // title; ids are random
	Turns  []int  // numbers of the turns that it has
	Blocks int
	Tail   bool
}

// workerStep is one line of a worker: the sessions after a step, by title.
type workerStep struct {
	Done bool // before it: false
	Step int
	What string
	All  map[string]workerSession
}

// turnTokens is the tokens of every turn of a worker.
const turnTokens = 300

func turnMessage(name string, turn int) Message {
	return Message{Role: "user", Body: fmt.Appendf(nil, "turn %d of %s", turn, name), Tokens: toks(turnTokens, int32(turn))}
}

// sessionTokens is the tokens of a sequence of turns.
func sessionTokens(turns []int) []int32 {
	var ids []int32
	for _, n := range turns {
		ids = append(ids, toks(turnTokens, int32(n))...)
	}
	return ids
}

// workerBlock is the payload of a session's block.
func workerBlock(turns []int, idx int) []byte {
	data := exactData(testKey(), sessionTokens(turns)[:(idx+1)*BlockTok])
	return bytes.Repeat(data, 40)
}

func workerTail(turns []int) []byte { return fmt.Appendf(nil, "tail after %v", turns) }

// worker runs steps of a seed and reports them to out.
type worker struct {
	s   *Store
	rng *rand.Rand
	out io.Writer
	ids map[string]string // title -> id
	all map[string]workerSession
	n   int
}

func (w *worker) report(what string, done bool, all map[string]workerSession) {
	b, err := json.Marshal(workerStep{done, w.n, what, all})
	if err != nil {
		panic(err)
	}
	if _, err := w.out.Write(append(b, '\n')); err != nil {
		panic(err)
	}
}

// next is the state after a change of one session; nil removes it.
func (w *worker) next(name string, s *workerSession) map[string]workerSession {
	all := map[string]workerSession{}
	for k, v := range w.all {
		all[k] = v
	}
	delete(all, name)
	if s != nil {
		all[name] = *s
	}
	return all
}

// step does one thing: it reports what the store will be, does it, and reports
// that it is.
func (w *worker) step() error {
	w.n++
	names := make([]string, 0, len(w.all))
	for i := range 1000 { // in a fixed order
		if name := fmt.Sprint("s", i); w.all[name].Name != "" {
			names = append(names, name)
		}
	}
	if w.n%7 == 0 {
		return w.do("checkpoint", w.all, func() error {
			_, err := w.s.db.writer.Exec("PRAGMA wal_checkpoint(PASSIVE)")
			return err
		})
	}
	kind := w.rng.IntN(10)
	if len(names) == 0 || len(names) < 4 && kind == 0 {
		return w.create()
	}
	s := w.all[names[w.rng.IntN(len(names))]]
	switch {
	case kind < 5 && kind != 3 && len(s.Turns) < 12:
		return w.turn(s)
	case kind == 5 && len(names) < 6:
		return w.fork(s)
	case kind == 6 && s.Blocks > 0:
		return w.demote(s)
	case kind == 6 || kind == 3:
		return w.stage(s)
	case kind == 7:
		return w.do("gc", w.all, func() error { _, err := w.s.GC(context.Background()); return err })
	case kind == 8 && len(names) < 6:
		return w.move(s)
	case kind == 9 && len(names) > 3:
		return w.do("delete", w.next(s.Name, nil), func() error { return w.user().Delete(w.ids[s.Name]) })
	}
	return w.recompute(s)
}

func (w *worker) user() User { return w.s.User(workerUID) }

func (w *worker) do(what string, after map[string]workerSession, f func() error) error {
	w.report(what, false, after)
	if err := f(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	w.all = after
	w.report(what, true, after)
	return nil
}

func (w *worker) create() error {
	name := fmt.Sprint("s", w.n)
	return w.do("create", w.next(name, &workerSession{Name: name}), func() error {
		s, err := w.user().Create(New{Title: name, Model: "m", Key: testKey()})
		w.ids[name] = s.ID
		return err
	})
}

// commitTo commits a turn that leaves the session with all its blocks.
func (w *worker) commitTo(s workerSession, after workerSession, messages []Message) error {
	turn := Turn{After: len(s.Turns), Messages: messages, Tail: parts(workerTail(after.Turns))}
	for i := s.Blocks; i < after.Blocks; i++ {
		turn.Blocks = append(turn.Blocks, Block{Parts: parts(workerBlock(after.Turns, i))})
	}
	_, err := w.user().Commit(context.Background(), w.ids[s.Name], turn)
	return err
}

func (w *worker) turn(s workerSession) error {
	after := s
	after.Turns = append(append([]int{}, s.Turns...), len(s.Turns)*10+w.rng.IntN(2))
	after.Blocks, after.Tail = len(after.Turns)*turnTokens/BlockTok, true
	last := after.Turns[len(after.Turns)-1]
	return w.do("turn", w.next(s.Name, &after), func() error {
		return w.commitTo(s, after, []Message{turnMessage("any", last)})
	})
}

func (w *worker) recompute(s workerSession) error {
	after := s
	after.Blocks, after.Tail = len(after.Turns)*turnTokens/BlockTok, true
	return w.do("recompute", w.next(s.Name, &after), func() error { return w.commitTo(s, after, nil) })
}

// stage adds the first parts of blocks that the session lacks.
func (w *worker) stage(s workerSession) error {
	after := s
	after.Tail = true
	st := Stage{After: len(s.Turns), First: s.Blocks, Tail: parts(workerTail(s.Turns))}
	for i := s.Blocks; i < len(s.Turns)*turnTokens/BlockTok; i++ {
		st.Blocks = append(st.Blocks, parts(workerBlock(s.Turns, i))[:1])
	}
	return w.do("stage", w.next(s.Name, &after), func() error {
		_, err := w.user().Stage(context.Background(), w.ids[s.Name], st)
		return err
	})
}

func (w *worker) fork(s workerSession) error {
	at := w.rng.IntN(len(s.Turns) + 1)
	f := workerSession{Name: fmt.Sprint("s", w.n), Turns: s.Turns[:at], Tail: s.Tail && at == len(s.Turns)}
	f.Blocks = min(s.Blocks, at*turnTokens/BlockTok)
	return w.do("fork", w.next(f.Name, &f), func() error {
		forked, err := w.user().Fork(w.ids[s.Name], at, f.Name)
		w.ids[f.Name] = forked.ID
		return err
	})
}

func (w *worker) demote(s workerSession) error {
	after := s
	after.Blocks, after.Tail = 0, false
	return w.do("demote", w.next(s.Name, &after), func() error {
		_, err := w.user().Demote(w.ids[s.Name], testKey(), "m")
		return err
	})
}

// move exports a session and imports it in its place, under a new title.
func (w *worker) move(s workerSession) error {
	var b bytes.Buffer
	if err := w.user().Export(context.Background(), w.ids[s.Name], &b); err != nil {
		return err
	}
	return w.do("import", w.all, func() error {
		imported, err := w.user().Import(context.Background(), &b, 0)
		if err != nil {
			return err
		}
		return w.user().Delete(imported.ID)
	})
}

// runWorker is the process: it goes on from what the store holds, forever.
func runWorker(dir string, seed uint64, steps int) error {
	s, err := Open(context.Background(), Options{Dir: dir})
	if err != nil {
		return err
	}
	w := &worker{s: s, rng: rand.New(rand.NewPCG(seed, 1)), out: os.Stdout, ids: map[string]string{}, all: map[string]workerSession{}}
	for range steps {
		if err := w.step(); err != nil {
			return err
		}
	}
	return s.Close()
}

func TestMain(m *testing.M) {
	if seed, err := strconv.ParseUint(os.Getenv(workerEnv), 10, 64); err == nil {
		steps, err := strconv.Atoi(os.Args[2])
		if err == nil {
			err = runWorker(os.Args[1], seed, steps)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	if os.Getenv(longEnv) == "" && flag.Lookup("rapid.checks").Value.String() == "100" {
		if err := flag.Set("rapid.checks", "5"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// promised is the state that a worker's lines promise, and the one that it was
// on its way to.
type promised struct {
	sure, maybe map[string]workerSession
	what        string
	lines       int
}

func readPromises(r io.Reader) (promised, error) {
	p := promised{sure: map[string]workerSession{}}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var s workerStep
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return p, nil // a line that was being written
		}
		p.lines++
		p.what, p.maybe = s.What, s.All
		if s.Done {
			p.sure, p.maybe = s.All, nil
		}
	}
	return p, lines.Err()
}

// verifyPromises opens what a worker has left and compares it.
func verifyPromises(dir string, p promised) error {
	s, err := Open(context.Background(), Options{Dir: dir})
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer s.Close()
	if err := checkClean(s, true); err != nil {
		return err
	}
	err = sameSessions(s, p.sure)
	if err != nil && p.maybe != nil {
		err = errors.Join(err, sameSessions(s, p.maybe))
		if sameSessions(s, p.maybe) == nil {
			err = nil
		}
	}
	if err != nil {
		return err
	}
	if _, err := s.GC(context.Background()); err != nil {
		return err
	}
	return checkClean(s, false)
}

// checkClean fails on anything that Check finds; orphans are a crash's right
// until GC has run.
func checkClean(s *Store, orphans bool) error {
	c, err := s.Check(context.Background(), true)
	for _, p := range c.Problems {
		if p.Fault != FaultOrphan || !orphans {
			err = errors.Join(err, errors.New(p.String()))
		}
	}
	return err
}

func sameSessions(s *Store, want map[string]workerSession) error {
	u := s.User(workerUID)
	list, err := u.List(Filter{})
	if err != nil {
		return err
	}
	seen := map[string]bool{} // an imported copy may stand beside its origin
	for _, have := range list {
		w, ok := want[have.Title]
		if !ok {
			return fmt.Errorf("session %s should not be there", have.Title)
		}
		seen[have.Title] = true
		if err := sameSession(u, have, w); err != nil {
			return fmt.Errorf("session %s: %w", have.Title, err)
		}
	}
	if len(seen) != len(want) {
		return fmt.Errorf("%d sessions of %d are there", len(seen), len(want))
	}
	return nil
}

func sameSession(u User, have Session, want workerSession) error {
	if have.Messages != len(want.Turns) || have.Blocks != want.Blocks || have.Tail != want.Tail {
		return fmt.Errorf("has %d messages, %d blocks, tail %v; should have %d, %d, %v", have.Messages, have.Blocks, have.Tail, len(want.Turns), want.Blocks, want.Tail)
	}
	messages, err := u.Messages(have.ID)
	if err != nil {
		return err
	}
	for i, m := range messages {
		if w := turnMessage("any", want.Turns[i]); !bytes.Equal(m.Body, w.Body) || len(m.Tokens) != len(w.Tokens) || m.Tokens[0] != w.Tokens[0] {
			return fmt.Errorf("message %d is %q", i, m.Body)
		}
	}
	snap, err := u.Restore(have.ID, testKey())
	if err != nil {
		return err
	}
	defer snap.Close()
	got, err := fillAll(snap, 0)
	if err != nil {
		return err
	}
	for i := range want.Blocks {
		if !bytes.Equal(got[i], workerBlock(want.Turns, i)) {
			return fmt.Errorf("block %d has other bytes", i)
		}
	}
	if want.Tail && !bytes.Equal(got[TailBlock], workerTail(want.Turns)) {
		return errors.New("tail has other bytes")
	}
	return nil
}

// TestKill kills a worker at random points of its work.
func TestKill(t *testing.T) {
	points := 6
	if v, err := strconv.Atoi(os.Getenv(crashPointsEnv)); err == nil {
		points = v
	}
	for i := range points {
		killOnce(t, uint64(i))
	}
}

func killOnce(t *testing.T, seed uint64) {
	dir := filepath.Join(t.TempDir(), "store")
	rng := rand.New(rand.NewPCG(seed, 2))
	cmd := exec.Command(os.Args[0], dir, "100000")
	cmd.Env = append(os.Environ(), workerEnv+"="+strconv.FormatUint(seed, 10))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Killed some microseconds after a random line: within whatever comes then.
	var seen bytes.Buffer
	lines, after := bufio.NewReader(out), rng.IntN(60)
	if seed%6 == 5 { // while the store is made
		after = 0
	}
	for range after {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			t.Fatal(seed, err, stderr.String())
		}
		seen.Write(line)
	}
	spin(time.Duration(rng.IntN(20000)) * time.Microsecond)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(&seen, lines); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	p, err := readPromises(&seen)
	if err != nil {
		t.Fatal(err)
	}
	if err := verifyPromises(dir, p); err != nil {
		t.Errorf("seed %d, after %d lines, during %q: %v", seed, p.lines, p.what, err)
	}
}

// spin passes time without giving the processor away; which point of the
// worker's it hits does not matter to the test's outcome.
func spin(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
	}
}
