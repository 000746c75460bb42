package store

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// powerPointsEnv sets how many crash states TestPowerLoss tries.
const powerPointsEnv = "EDGED_STORE_POWER_POINTS"

// platter is what a disk holds when the power fails: what was synced, and any
// part of what was not. A file's bytes are durable when the file was synced;
// names in a folder are when the folder was. Unsynced writes are dropped, kept
// or torn one by one, and so are names: weaker than any journaling file system.
type platter struct {
	dirs map[string]*folder // by path
}

type folder struct {
	durable map[string]*inode
	pending []nameChange
}

// nameChange is a create (to), an unlink (from) or a rename (both).
type nameChange struct {
	from, to string
	node     *inode
}

type inode struct {
	durable []byte
	pending []byteChange
}

// byteChange is a write, or a truncation where data is nil.
type byteChange struct {
	off  int64
	data []byte
}

func (c byteChange) apply(b []byte) []byte {
	end := c.off + int64(len(c.data))
	if c.data == nil && int64(len(b)) > c.off {
		return b[:c.off]
	}
	if int64(len(b)) < end {
		b = append(b, make([]byte, end-int64(len(b)))...)
	}
	copy(b[c.off:], c.data)
	return b
}

func (n nameChange) apply(names map[string]*inode) {
	if n.from != "" {
		delete(names, n.from)
	}
	if n.to != "" {
		names[n.to] = n.node
	}
}

// current is the names as a running program sees them.
func (f *folder) current() map[string]*inode {
	names := maps.Clone(f.durable)
	for _, c := range f.pending {
		c.apply(names)
	}
	return names
}

func (n *inode) current() []byte {
	b := bytes.Clone(n.durable)
	for _, c := range n.pending {
		b = c.apply(b)
	}
	return b
}

// run replays one call. Folders themselves are made durable at once: that the
// store syncs their parents is checked by TestFirstSyncs.
func (p *platter) run(op sysop) error {
	if op.call == "mkdir" {
		p.dirs[op.path] = &folder{durable: map[string]*inode{}}
		return nil
	}
	if d, ok := p.dirs[op.path]; ok && op.call == "fsync" {
		d.durable, d.pending = d.current(), nil
		return nil
	}
	dir, name := path.Split(op.path)
	d, ok := p.dirs[strings.TrimSuffix(dir, "/")]
	if !ok {
		return fmt.Errorf("%s in a folder that was not made: %s", op.call, op.path)
	}
	node := d.current()[name]
	switch op.call {
	case "create":
		if node == nil {
			d.pending = append(d.pending, nameChange{to: name, node: &inode{}})
		}
		return nil
	case "unlink":
		d.pending = append(d.pending, nameChange{from: name})
		return nil
	}
	if node == nil {
		return fmt.Errorf("%s of a file that is not there: %s", op.call, op.path)
	}
	switch op.call {
	case "write":
		if op.off < 0 { // files are appended to by their only writer
			op.off = int64(len(node.current()))
		}
		node.pending = append(node.pending, byteChange{op.off, op.data})
	case "ftruncate":
		node.pending = append(node.pending, byteChange{op.off, nil})
	case "fsync":
		node.durable, node.pending = node.current(), nil
	case "rename":
		if path.Dir(op.to) != path.Dir(op.path) {
			return fmt.Errorf("rename to another folder: %s", op.to)
		}
		d.pending = append(d.pending, nameChange{name, path.Base(op.to), node})
	default:
		return fmt.Errorf("cannot replay %s", op.call)
	}
	return nil
}

// fate says what becomes of unsynced changes.
type fate struct {
	rng  *rand.Rand
	keep float64 // probability that a change is kept
	tear bool    // whether writes that are kept may be torn
}

func (f fate) bytes(n *inode) []byte {
	const sector = 512
	b := bytes.Clone(n.durable)
	for _, c := range n.pending {
		if f.rng.Float64() >= f.keep {
			continue
		}
		if !f.tear || len(c.data) <= sector || f.rng.IntN(3) > 0 {
			b = c.apply(b)
			continue
		}
		for off := 0; off < len(c.data); off += sector {
			if f.rng.Float64() < f.keep {
				b = byteChange{c.off + int64(off), c.data[off:min(len(c.data), off+sector)]}.apply(b)
			}
		}
	}
	return b
}

// write makes a folder that holds what is left. The shared-memory index of the
// log is left out: it is mapped memory that SQLite builds anew.
func (p *platter) write(from, to string, f fate) error {
	for name, d := range p.dirs {
		dir := filepath.Join(to, strings.TrimPrefix(name, from))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		names := maps.Clone(d.durable)
		for _, c := range d.pending {
			if f.rng.Float64() < f.keep {
				c.apply(names)
			}
		}
		for name, n := range names {
			if strings.HasSuffix(name, "-shm") {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, name), f.bytes(n), 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

// mustEqual compares what was replayed with the folder that was recorded.
func (p *platter) mustEqual(t *testing.T, root string) {
	for name, d := range p.dirs {
		names := d.current()
		entries, err := os.ReadDir(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.IsDir() {
				continue
			}
			b, err := os.ReadFile(filepath.Join(name, e.Name()))
			if err != nil || names[e.Name()] == nil || !bytes.Equal(b, names[e.Name()].current()) {
				t.Fatalf("%s/%s was not replayed as it is: %v", name, e.Name(), err)
			}
			delete(names, e.Name())
		}
		if len(names) > 0 {
			t.Fatalf("%s: replayed files are not there: %v", name, slices.Collect(maps.Keys(names)))
		}
	}
}

// TestPowerLoss records every system call of a worker, SQLite's included, and
// replays what may be left when the power fails at any of them.
func TestPowerLoss(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	points := 60
	if v, err := strconv.Atoi(os.Getenv(powerPointsEnv)); err == nil {
		points = v
	}
	const pointsOfRun = 60
	for seed := 0; seed*pointsOfRun < points; seed++ {
		powerLoss(t, strace, uint64(seed), min(pointsOfRun, points-seed*pointsOfRun))
	}
}

func powerLoss(t *testing.T, strace string, seed uint64, points int) {
	tmp := t.TempDir()
	root, trace := filepath.Join(tmp, "store"), filepath.Join(tmp, "trace")
	ops := record(t, strace, root, trace, root, seed, 40)
	rng := rand.New(rand.NewPCG(seed, 3))
	at := map[int]int{} // crash states by the number of calls that came before
	for range points {
		at[rng.IntN(len(ops)+1)]++
	}
	p := &platter{dirs: map[string]*folder{}}
	var said bytes.Buffer
	for i := 0; i <= len(ops); i++ {
		for range at[i] {
			state := fate{rng, []float64{0, 0.5, 0.9, 1}[rng.IntN(4)], rng.IntN(2) == 0}
			crash(t, p, root, said.Bytes(), state, fmt.Sprintf("run %d, before call %d of %d", seed, i, len(ops)))
		}
		if i == len(ops) {
			p.mustEqual(t, root)
			break
		}
		if ops[i].call == "say" {
			said.Write(ops[i].data)
		} else if err := p.run(ops[i]); err != nil {
			t.Fatal(err)
		}
	}
}

// record runs a worker and returns its calls below a folder.
func record(t *testing.T, strace, root, trace, below string, seed uint64, steps int) []sysop {
	cmd := exec.Command(strace, append(straceArgs, "-o", trace, os.Args[0], root, strconv.Itoa(steps))...)
	cmd.Env = append(os.Environ(), workerEnv+"="+strconv.FormatUint(seed, 10))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	f, err := os.Open(trace)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ops, err := parseTrace(f, below)
	if err != nil {
		t.Fatal(err)
	}
	return ops
}

// crash verifies one state that a power loss may leave.
func crash(t *testing.T, p *platter, root string, said []byte, f fate, where string) {
	dir, err := os.MkdirTemp(t.TempDir(), "after")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := p.write(root, dir, f); err != nil {
		t.Fatal(err)
	}
	promises, err := readPromises(bytes.NewReader(said))
	if err != nil {
		t.Fatal(err)
	}
	if err := verifyPromises(dir, promises); err != nil {
		t.Errorf("%s, keeping %.1f, tearing %v, during %q: %v", where, f.keep, f.tear, promises.what, err)
	}
}

// TestFirstSyncs: before anything is promised, the names of the store's folder
// and of the folder in it are durable.
func TestFirstSyncs(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	tmp := t.TempDir()
	root, trace := filepath.Join(tmp, "store"), filepath.Join(t.TempDir(), "trace")
	ops := record(t, strace, root, trace, tmp, 1, 1)
	synced, made := map[string]bool{}, map[string]bool{}
	for _, op := range ops {
		switch op.call {
		case "mkdir", "create":
			if !made[op.path] { // create opens what is there, too
				synced[path.Dir(op.path)] = false
			}
			made[op.path] = true
		case "fsync":
			synced[op.path] = true
		case "say":
			if !synced[tmp] || !synced[root] {
				t.Fatalf("the worker spoke when folders were synced so: %v", synced)
			}
			return
		}
	}
	t.Fatal("the worker said nothing")
}
