package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Benchmarks of bandwidth compare with a plain file of the same bytes, written
// or read from beginning to end in the same run. Their shape is that of an 8B
// model at 8 bits: 9 MB a block, in 32 parts. EDGED_STORE_BENCH_BLOCKS makes it
// longer: 512 blocks are 128k tokens.

const benchPart = 288 << 10 // bytes of a layer's 256 tokens

const benchParts = 32

func benchBlocks(b *testing.B) int {
	n, err := strconv.Atoi(os.Getenv("EDGED_STORE_BENCH_BLOCKS"))
	if err != nil {
		n = 32
	}
	return n
}

// arena is bytes that do not compress, and that no two blocks share.
var arena = fill(benchPart+4096, 5)

func benchBlock(i int) Block {
	var p Payload
	for part := range benchParts {
		at := (i*37 + part*11) % 4096
		p = append(p, Part{ID: part, Size: benchPart, Data: Bytes(arena[at : at+benchPart])})
	}
	return Block{Parts: p}
}

func benchTurn(blocks int) Turn {
	t := Turn{Messages: []Message{{Role: "user", Body: make([]byte, 5*BlockTok*blocks), Tokens: toks(blocks*BlockTok, 0)}}, Tail: payload(8<<20, 9)}
	for i := range blocks {
		t.Blocks = append(t.Blocks, benchBlock(i))
	}
	return t
}

// plainWrite writes n bytes to a file and syncs it.
func plainWrite(b testing.TB, path string, n int64) time.Duration {
	start := time.Now()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	for left := n; left > 0; {
		w, err := f.Write(arena[:min(left, benchPart)])
		if err != nil {
			b.Fatal(err)
		}
		left -= int64(w)
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

// plainRead reads a file in pieces of 4 MiB.
func plainRead(b testing.TB, path string) time.Duration {
	start := time.Now()
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 4<<20)
	for {
		if _, err := f.Read(buf); err == io.EOF {
			return time.Since(start)
		} else if err != nil {
			b.Fatal(err)
		}
	}
}

// evict drops a folder's files from the page cache, so that they are read from
// the disk.
func evict(b testing.TB, dir string) {
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
	if err != nil {
		b.Fatal(err)
	}
}

func mbs(n int64, d time.Duration) float64 { return float64(n) / 1e6 / d.Seconds() }

// BenchmarkSnapshot commits a document, restores it from the disk and from the
// page cache, and says what fraction of a plain file's bandwidth each reaches.
func BenchmarkSnapshot(b *testing.B) {
	for name, key := range map[string][]byte{"clear": nil, "sealed": make([]byte, KeyBytes)} {
		b.Run(name, func(b *testing.B) { benchSnapshot(b, key, commitWhole) })
	}
	b.Run("staged", func(b *testing.B) { benchSnapshot(b, nil, commitByLayer) })
}

func commitWhole(u User, id string, turn Turn) { must(u.Commit(context.Background(), id, turn)) }

// commitByLayer stages one part of all blocks after the other, as a prompt that
// is read layer by layer does.
func commitByLayer(u User, id string, turn Turn) {
	must(u.Commit(context.Background(), id, Turn{Messages: turn.Messages}))
	for part := range benchParts {
		st := Stage{After: 1}
		for _, b := range turn.Blocks {
			st.Blocks = append(st.Blocks, b.Parts[part:part+1])
		}
		must(u.Stage(context.Background(), id, st))
	}
	must(u.Commit(context.Background(), id, Turn{After: 1, Blocks: turn.Blocks, Tail: turn.Tail}))
}

func benchSnapshot(b *testing.B, key []byte, commit func(User, string, Turn)) {
	blocks := benchBlocks(b)
	size := int64(blocks)*benchPart*benchParts + 8<<20
	var write, disk, cached, plainW, plainD, plainC time.Duration
	for b.Loop() {
		dir := b.TempDir()
		plain := filepath.Join(dir, "plain")
		plainW += plainWrite(b, plain, size)
		evict(b, dir)
		plainD += plainRead(b, plain)
		plainC += plainRead(b, plain)
		if err := os.Remove(plain); err != nil {
			b.Fatal(err)
		}

		s := openStore(b, Options{Dir: filepath.Join(dir, "store"), Key: key})
		u := s.User(1)
		sess := must(u.Create(New{Key: testKey()}))
		turn := benchTurn(blocks)
		start := time.Now()
		commit(u, sess.ID, turn)
		write += time.Since(start)
		evict(b, filepath.Join(dir, "store", "chunks"))
		disk += benchRead(b, u, sess.ID, size)
		cached += benchRead(b, u, sess.ID, size)
		if err := u.Delete(sess.ID); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(3 * size)
	for name, d := range map[string][2]time.Duration{"write": {write, plainW}, "read": {disk, plainD}, "reread": {cached, plainC}} {
		n := size * int64(b.N)
		b.ReportMetric(mbs(n, d[0]), name+"-MB/s")
		b.ReportMetric(d[1].Seconds()/d[0].Seconds(), name+"/plain")
		b.ReportMetric(mbs(n, d[1]), "plain-"+name+"-MB/s")
	}
}

// benchRead restores a session into memory that stands for an engine's arenas.
func benchRead(b *testing.B, u User, id string, want int64) time.Duration {
	dst := make([]byte, benchPart)
	start := time.Now()
	snap := must(u.Restore(id, testKey()))
	defer snap.Close()
	var got int64
	for p, err := range snap.Read(context.Background(), 0) {
		if err != nil {
			b.Fatal(err)
		}
		got += int64(len(p.Data))
		for data := p.Data; len(data) > 0; {
			data = data[copy(dst, data):]
		}
	}
	if got != want {
		b.Fatalf("%d bytes of %d", got, want)
	}
	return time.Since(start)
}

// manySessions is what a person may have after years.
const manySessions = 10_000

func fillMany(b testing.TB, dir string, key []byte) {
	s := openStore(b, Options{Dir: dir, Key: key})
	u := s.User(1)
	err := s.db.update(func(t txn) error { // in one transaction: only what is there matters
		for i := range manySessions {
			r, err := u.newRow(New{Title: fmt.Sprint("session ", i), Tags: []string{"work"}, Model: "model", Key: testKey()})
			if err != nil {
				return err
			}
			if err := u.insert(t, &r); err != nil {
				return err
			}
			if err := s.appendMessages(t, &r, []Message{{Role: "user", Body: fill(400, 1), Tokens: toks(100, 0)}, {Role: "assistant", Body: fill(1600, 1), Tokens: toks(400, 0)}}); err != nil {
				return err
			}
			if err := s.save(t, r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 2000 { // some have payload: files for Open to look at
		list := must(u.Create(New{Key: testKey(), Title: strings.Repeat("x", i%50)}))
		must(u.Commit(context.Background(), list.ID, Turn{Tail: payload(500, byte(i))}))
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkManySessions opens a store of 12,000 sessions, after a clean end and
// after a crash, lists them, and adds turns to one more.
func BenchmarkManySessions(b *testing.B) {
	for name, key := range map[string][]byte{"clear": nil, "sealed": make([]byte, KeyBytes)} {
		dir := filepath.Join(b.TempDir(), "store")
		fillMany(b, dir, key)
		open := func(b *testing.B, crashed bool) {
			for b.Loop() {
				if crashed {
					b.StopTimer()
					if err := os.WriteFile(filepath.Join(dir, lockFile), []byte("1\n"), 0o600); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
				s, err := Open(context.Background(), Options{Dir: dir, Key: key})
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.Run(name+"/open", func(b *testing.B) { open(b, false) })
		b.Run(name+"/open-after-crash", func(b *testing.B) { open(b, true) })
		b.Run(name+"/list", func(b *testing.B) {
			s := openStore(b, Options{Dir: dir, Key: key})
			for b.Loop() {
				list := must(s.User(1).List(Filter{}))
				if len(list) != manySessions+2000 {
					b.Fatal(len(list))
				}
			}
		})
		b.Run(name+"/turn", func(b *testing.B) { // of a block of 50 kB and a tail of 100
			s := openStore(b, Options{Dir: dir, Key: key})
			u := s.User(1)
			sess := must(u.Create(New{Key: testKey(), Title: "grows"}))
			for i := 0; b.Loop(); i++ {
				must(u.Commit(context.Background(), sess.ID, Turn{After: i, Messages: []Message{{Body: fill(1000, 1), Tokens: toks(BlockTok, int32(i))}},
					Blocks: []Block{{Parts: payload(50_000, byte(i))}}, Tail: payload(100_000, byte(i))}))
			}
			if err := u.Delete(sess.ID); err != nil {
				b.Fatal(err)
			}
		})
		b.Run(name+"/list-by-title", func(b *testing.B) {
			s := openStore(b, Options{Dir: dir, Key: key})
			for b.Loop() {
				if list := must(s.User(1).List(Filter{Title: "session 77"})); len(list) != 1 {
					b.Fatal(len(list))
				}
			}
		})
	}
}

// BenchmarkWriteAmplification holds what the kernel was given to write against
// the payload of a document and 40 turns of conversation after it.
func BenchmarkWriteAmplification(b *testing.B) {
	blocks := benchBlocks(b)
	var document, conversation, tails float64
	for b.Loop() {
		s := openStore(b, Options{})
		u := s.User(1)
		sess := must(u.Create(New{Key: testKey()}))
		turn := benchTurn(blocks)
		before := writtenBytes(b)
		must(u.Commit(context.Background(), sess.ID, turn))
		document = float64(writtenBytes(b)-before) / float64(turn.size())

		before = writtenBytes(b)
		var grown, tail int64
		for i := range 40 { // a block every second turn, and a tail of 1 MiB
			turn := Turn{After: 1 + i, Messages: []Message{{Role: "user", Body: make([]byte, 600), Tokens: toks(BlockTok/2, int32(i))}}, Tail: payload(1<<20, byte(i))}
			if i%2 == 1 {
				turn.Blocks = []Block{benchBlock(blocks + i)}
				grown += turn.Blocks[0].Parts.size()
			}
			tail += 1 << 20
			must(u.Commit(context.Background(), sess.ID, turn))
		}
		written := float64(writtenBytes(b) - before)
		conversation, tails = written/float64(grown), written/float64(grown+tail)
	}
	b.ReportMetric(document, "document-x")
	b.ReportMetric(conversation, "turns/blocks-x")
	b.ReportMetric(tails, "turns/blocks+tails-x")
}

// writtenBytes is what this process has caused to be written to disks.
func writtenBytes(b testing.TB) int64 {
	content, err := os.ReadFile("/proc/self/io")
	if err != nil {
		b.Skip(err)
	}
	for line := range strings.Lines(string(content)) {
		if v, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
	}
	b.Fatal("no write_bytes")
	return 0
}

// BenchmarkFill restores a document from the page cache into memory that has its
// size, and says what fraction of copying it, on one thread, that reaches.
func BenchmarkFill(b *testing.B) {
	for name, key := range map[string][]byte{"clear": nil, "sealed": make([]byte, KeyBytes)} {
		b.Run(name, func(b *testing.B) {
			blocks := benchBlocks(b)
			size := blocks*benchPart*benchParts + 8<<20
			s := openStore(b, Options{Key: key})
			u := s.User(1)
			sess := must(u.Create(New{Key: testKey()}))
			must(u.Commit(context.Background(), sess.ID, benchTurn(blocks)))
			dst, src := bytes.Repeat([]byte{1}, size), bytes.Repeat([]byte{2}, size)
			var opened, filled, copied time.Duration
			for b.Loop() {
				start := time.Now()
				snap := must(u.Restore(sess.ID, testKey()))
				opened += time.Since(start)
				at := 0
				err := snap.Fill(context.Background(), 0, func(x Span) ([]Target, error) {
					at += int(x.Size)
					return []Target{{Mem: dst[at-int(x.Size) : at]}}, nil
				})
				if err := errors.Join(err, snap.Close()); err != nil || at != size {
					b.Fatal(at, err)
				}
				filled += time.Since(start)
				start = time.Now()
				copy(dst, src)
				copied += time.Since(start)
			}
			b.SetBytes(int64(size))
			b.ReportMetric(mbs(int64(size)*int64(b.N), filled), "restore-MB/s")
			b.ReportMetric(opened.Seconds()/filled.Seconds(), "open/restore")
			b.ReportMetric(copied.Seconds()/filled.Seconds(), "restore/copy")
		})
	}
}
