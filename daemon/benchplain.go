package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// plainBytes is what a plain read or write moves at once.
const plainBytes = 4 << 20

// plainRun is more memory than caches hold.
const plainRun = 256 << 20

// plainWrite writes as many bytes into one file from its begin to its end, and
// syncs it.
func (r *Rate) plainWrite(name string) (err error) {
	buf := make([]byte, plainBytes)
	for i := range buf {
		buf[i] = byte(i * i >> 3)
	}
	begun := time.Now()
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(name)) }()
	for left := r.Bytes; left > 0 && err == nil; left -= plainBytes {
		_, err = f.Write(buf[:min(left, plainBytes)])
	}
	err = errors.Join(err, f.Sync(), f.Close())
	r.plain("one file, written and synced", begun)
	return err
}

// plainRead reads files from their begins to their ends, on some threads at once,
// each one file after the other, to more memory than caches hold.
func (r *Rate) plainRead(what string, files []string, threads int) error {
	var all errgroup.Group
	buf := make([]byte, threads*plainRun)
	for i := 0; i < len(buf); i += 4096 {
		buf[i] = 1 // the kernel gives the pages
	}
	begun := time.Now()
	for i := range threads {
		all.Go(func() error {
			for k := i; k < len(files); k += threads {
				if err := readFile(files[k], buf[i*plainRun:][:plainRun]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := all.Wait()
	r.plain(what, begun)
	return err
}

// readFile reads a file, to one piece of memory after the other.
func readFile(name string, to []byte) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	for at := 0; err == nil; at = (at + plainBytes) % len(to) {
		_, err = f.Read(to[at:][:plainBytes])
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// plainCopy copies as many bytes in memory, on some threads at once, each from and
// to more than caches hold.
func (r *Rate) plainCopy(threads int) {
	const size = plainRun
	from, to := make([]byte, threads*size), make([]byte, threads*size)
	for i := 0; i < threads*size; i += 4096 {
		from[i], to[i] = 1, 1 // the kernel gives the pages
	}
	var all sync.WaitGroup
	begun := time.Now()
	for i := range threads {
		all.Go(func() {
			from, to := from[i*size:][:size], to[i*size:][:size]
			for left := r.Bytes / int64(threads); left > 0; left -= size {
				copy(to[:min(left, size)], from)
			}
		})
	}
	all.Wait()
	r.plain(fmt.Sprintf("copied in memory on %d thread(s)", threads), begun)
}

func (r *Rate) plain(what string, begun time.Time) {
	r.Plain = append(r.Plain, Plain{what, time.Since(begun).Seconds()})
}

func chunkFiles(dir string) []string {
	files, err := filepath.Glob(filepath.Join(dir, "chunks", "*"))
	if err != nil {
		panic(err) // the pattern is right
	}
	return files
}

// dropCached makes the kernel forget what it has of files.
func dropCached(files []string) error {
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		err = errors.Join(f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close())
		if err != nil {
			return fmt.Errorf("drop %s from the page cache: %w", name, err)
		}
	}
	return nil
}
