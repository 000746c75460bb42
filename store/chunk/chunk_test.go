package chunk

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"edged/store/disk"
)

var testStore = [16]byte{1, 2, 3}

func testFS(t testing.TB) (*disk.OS, string) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, Dir), 0o700); err != nil {
		t.Fatal(err)
	}
	fs, err := disk.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fs.Close() })
	return fs, dir
}

func testBytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> 2)
	}
	return b
}

// writeChunk writes extents of some sizes, in pieces.
func writeChunk(t interface{ Fatal(...any) }, fs disk.FS, number uint64, key *Key, piece int, sizes ...int) (Finished, []Extent) {
	w, err := Create(fs, ID{testStore, number}, key)
	if err != nil {
		t.Fatal(err)
	}
	var extents []Extent
	for _, n := range sizes {
		w.Begin()
		for b := testBytes(n); len(b) > 0; b = b[min(piece, len(b)):] {
			if _, err := w.Write(b[:min(piece, len(b))]); err != nil {
				t.Fatal(err)
			}
		}
		e, err := w.End()
		if err != nil {
			t.Fatal(err)
		}
		extents = append(extents, e)
	}
	ref, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return ref, extents
}

// TestRoundTrip: whatever the sizes and pieces, what is read is what was
// written, one by one and all at once, and the table agrees.
func TestRoundTrip(t *testing.T) {
	fs, _ := testFS(t)
	number := uint64(0)
	rapid.Check(t, func(t *rapid.T) {
		number++
		var key *Key
		if rapid.Bool().Draw(t, "sealed") {
			key = &Key{9}
		}
		size := rapid.OneOf(rapid.IntRange(1, 300), rapid.IntRange(SegmentBytes-2, SegmentBytes+2), rapid.IntRange(2*SegmentBytes-1, 2*SegmentBytes+1))
		sizes := rapid.SliceOfN(size, 1, 6).Draw(t, "sizes")
		f, extents := writeChunk(t, fs, number, key, rapid.IntRange(1, 200_000).Draw(t, "piece"), sizes...)
		r, err := Open(fs, testStore, f.Ref, key)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		table, err := r.Verify()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(extents, table); d != "" {
			t.Fatal(d)
		}
		all, err := r.Read(extents, make([]byte, Span(extents)))
		if err != nil {
			t.Fatal(err)
		}
		var buf []byte
		for i, n := range sizes {
			one, err := r.Read(extents[i:i+1], make([]byte, extents[i].Disk))
			if err != nil {
				t.Fatal(err)
			}
			filled := make([]byte, n)
			at := rapid.IntRange(0, n).Draw(t, "cut")
			if err := r.Fill(extents[i], [][]byte{filled[:at], filled[at:]}, &buf); err != nil {
				t.Fatal(err)
			}
			if want := testBytes(n); !bytes.Equal(all[i], want) || !bytes.Equal(one[0], want) || !bytes.Equal(filled, want) {
				t.Fatalf("extent %d of %d bytes was read otherwise", i, n)
			}
		}
	})
}

// TestFormat1 reads a file with xxhash64 checksums of extents, as older stores have.
func TestFormat1(t *testing.T) {
	fs, dir := testFS(t)
	ref := Ref{Number: 7, Sum: 0x2aa5bfa67b5b3d6c, Bytes: 1141}
	extents := []Extent{{Off: 64, Len: 5, Disk: 5, Sum: 0x735cc59f8341f4fd}, {Off: 69, Len: 1000, Disk: 1000, Sum: 0x973254357a6cf4f9}}
	content, err := os.ReadFile("testdata/xxhash64.chunk")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ref.Name()), content, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readEverything(fs, ref, nil, extents)
	if want := slices.Concat(testBytes(5), testBytes(1000)); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("a file of format 1 was read otherwise: %v", err)
	}
}

// TestFull: a writer says when a chunk is full, and a full one is not larger
// than it may be.
func TestFull(t *testing.T) {
	fs, _ := testFS(t)
	for _, key := range []*Key{nil, {1}} {
		w, err := Create(fs, ID{testStore, 1}, key)
		if err != nil {
			t.Fatal(err)
		}
		for w.Room() > 0 {
			n := min(w.Room(), MaxExtent/3)
			w.Begin()
			if _, err := w.Write(make([]byte, n)); err != nil {
				t.Fatal(err)
			}
			if _, err := w.End(); err != nil {
				t.Fatal(err)
			}
		}
		f, err := w.Finish()
		if err != nil {
			t.Fatal(err)
		}
		if f.Bytes > MaxBytes || f.Bytes < MaxBytes-1000 {
			t.Fatalf("a full chunk has %d bytes, at most %d are allowed", f.Bytes, MaxBytes)
		}
	}
}

// readEverything opens, verifies and reads a chunk, and gives its payload.
func readEverything(fs disk.FS, ref Ref, key *Key, extents []Extent) ([]byte, error) {
	r, err := Open(fs, testStore, ref, key)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if _, err := r.Verify(); err != nil {
		return nil, err
	}
	var all []byte
	for _, e := range extents {
		p, err := r.Read([]Extent{e}, make([]byte, e.Disk))
		if err != nil {
			return nil, err
		}
		all = append(all, p[0]...)
	}
	filled, buf := make([]byte, len(all)), []byte(nil)
	for i, to := 0, filled; i < len(extents); i++ {
		n := extents[i].Len
		if err := r.Fill(extents[i], [][]byte{to[:n/2], to[n/2 : n]}, &buf); err != nil {
			return nil, err
		}
		to = to[n:]
	}
	if !bytes.Equal(filled, all) {
		return nil, errors.New("Fill and Read differ")
	}
	return all, nil
}

// TestEveryBitCounts: with any bit flipped, at any length, a file is refused.
func TestEveryBitCounts(t *testing.T) {
	for name, key := range map[string]*Key{"clear": nil, "sealed": {4}} {
		t.Run(name, func(t *testing.T) {
			fs, dir := testFS(t)
			f, extents := writeChunk(t, fs, 1, key, 100, 50, 1, 70)
			path := filepath.Join(dir, f.Name())
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			refused := func(b []byte, what string, at int) {
				t.Helper()
				if err := os.WriteFile(path, b, 0o600); err != nil {
					t.Fatal(err)
				}
				if _, err := readEverything(fs, f.Ref, key, extents); !errors.Is(err, ErrCorrupt) {
					t.Fatalf("%s %d: %v", what, at, err)
				}
			}
			for i := range whole {
				b := bytes.Clone(whole)
				b[i] ^= 1 << (i % 8)
				refused(b, "flipped a bit of byte", i)
				refused(whole[:i], "cut off at", i)
			}
			refused(append(bytes.Clone(whole), 0), "grown to", len(whole)+1)
		})
	}
}

// TestSwappedFiles: a whole and valid chunk in the place of another, of another
// store, or sealed with another key is refused.
func TestSwappedFiles(t *testing.T) {
	fs, dir := testFS(t)
	key := &Key{4}
	a, extents := writeChunk(t, fs, 1, key, 100, 50)
	b, _ := writeChunk(t, fs, 2, key, 100, 50)
	if err := os.Rename(filepath.Join(dir, b.Name()), filepath.Join(dir, a.Name())); err != nil {
		t.Fatal(err)
	}
	if _, err := readEverything(fs, a.Ref, key, extents); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	c, extents := writeChunk(t, fs, 3, key, 100, 50)
	if _, err := Open(fs, [16]byte{7}, c.Ref, key); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	if _, err := readEverything(fs, c.Ref, &Key{5}, extents); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	if _, err := readEverything(fs, c.Ref, nil, extents); err == nil {
		t.Fatal("a sealed chunk was read without a key")
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]bool{"00000000000000ff-0123456789abcdef": true, "ff-0123456789abcdef": false, "../../../../etc/pas-0123456789abcdef": false, "00000000000000ff.tmp": false, "": false} {
		if _, _, ok := ParseName(name); ok != want {
			t.Errorf("%q is a chunk's name: %v", name, ok)
		}
	}
	if n, ok := ParseTmpName("00000000000000ff.tmp"); !ok || n != 255 {
		t.Error(n, ok)
	}
}

// FuzzReader: no file and no extent can do more than be refused. The checksum
// in the footer is made right, so that what lies behind it is reached.
func FuzzReader(f *testing.F) {
	fs, dir := testFS(f)
	for _, key := range []*Key{nil, {4}} {
		ref, extents := writeChunk(f, fs, 1, key, 100, 50, 70)
		b, err := os.ReadFile(filepath.Join(dir, ref.Name()))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, extents[0].Off, extents[0].Len, extents[0].Disk)
	}
	f.Fuzz(func(t *testing.T, b []byte, off, length, onDisk int64) {
		fs, dir := testFS(t)
		ref := Ref{Number: 1, Bytes: int64(len(b))}
		if n := len(b); n >= headerBytes+footerBytes {
			count := int(min(uint64(n), uint64(b[n-footerBytes])|uint64(b[n-footerBytes+1])<<8))
			if from := n - footerBytes - count*entryBytes; from >= headerBytes {
				ref.Sum = tableSum(b[:headerBytes], b[from:n-16])
				for i := range 8 {
					b[n-16+i] = byte(ref.Sum >> (8 * i))
				}
			}
		}
		if err := os.WriteFile(filepath.Join(dir, ref.Name()), b, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Open(fs, testStore, ref, &Key{4})
		if err != nil {
			return
		}
		defer r.Close()
		if extents, err := r.Verify(); err == nil {
			for _, e := range extents {
				if _, err := r.Read([]Extent{e}, make([]byte, e.Disk)); err == nil && e.Len > e.Disk {
					t.Fatal("an extent gives more than it holds")
				}
			}
		}
		e := Extent{Off: off, Len: length, Disk: onDisk}
		if off >= 0 && onDisk >= 0 && onDisk <= int64(len(b)) && off <= int64(len(b))-onDisk {
			e.Sum = r.sumOf(b[off : off+onDisk])
		}
		if p, err := r.Read([]Extent{e}, make([]byte, max(0, min(onDisk, 1<<24)))); err == nil && int64(len(p[0])) != length {
			t.Fatal("an extent has another length than it should")
		}
		to := make([]byte, max(0, min(length, 1<<24)))
		if err := r.Fill(e, [][]byte{to[:len(to)/3], to[len(to)/3:]}, new([]byte)); err == nil && int64(len(to)) != length {
			t.Fatal("memory of another length was filled")
		}
	})
}
