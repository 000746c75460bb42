package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// partial is a file on its way into the models folder: NAME.part, locked, with
// what is known about its origin in NAME.part.json.
//
// Data is only ever appended. File systems do not let a size become durable
// before the data below it, so after a crash too the size says what is there.
type partial struct {
	dir, name string
	f         *os.File
	bytes     int64  // written so far
	origin    origin // zero when there is nothing to resume
	done      bool   // published or discarded: the path is no longer ours
}

// origin tells one version of a remote file from another.
type origin struct {
	URL          string `json:"url"`
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
	Bytes        int64  `json:"bytes"` // whole file; -1 when the server did not say
}

// validator is what If-Range may carry: a strong ETag, else the date of the
// last change. Empty when neither is known, so that nothing can be resumed.
func (o origin) validator() string {
	if o.ETag != "" && o.ETag[0] == '"' {
		return o.ETag
	}
	return o.LastModified
}

func (p *partial) path() string        { return filepath.Join(p.dir, p.name+".part") }
func (p *partial) sidecar() string     { return p.path() + ".json" }
func (p *partial) destination() string { return filepath.Join(p.dir, p.name) }

// openPartial opens or creates the partial file and locks it, or returns
// ErrBusy.
func openPartial(dir, name string) (*partial, error) {
	p := &partial{dir: dir, name: name}
	for {
		f, err := os.OpenFile(p.path(), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
		if err != nil {
			return nil, fmt.Errorf("open partial file: %w", err)
		}
		same, err := lockInPlace(f, p.path())
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", p.path(), err)
		}
		if same {
			p.f = f
			break
		}
		f.Close() // its last owner has just published or discarded it
	}
	if err := p.load(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// lockInPlace locks f and reports whether path still names it.
func lockInPlace(f *os.File, path string) (bool, error) {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, ErrBusy
	}
	if err != nil {
		return false, err
	}
	held, err := f.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(held, named), err
}

// load reads what an earlier pull left. A sidecar that is missing or damaged
// only means that there is nothing to resume.
func (p *partial) load() error {
	info, err := p.f.Stat()
	if err != nil {
		return fmt.Errorf("read partial file: %w", err)
	}
	p.bytes = info.Size()
	data, err := os.ReadFile(p.sidecar())
	if err == nil {
		err = json.Unmarshal(data, &p.origin)
	}
	if err != nil {
		p.origin = origin{}
	}
	return nil
}

// restart empties the file and records where its new contents come from.
func (p *partial) restart(o origin) error {
	if err := p.f.Truncate(0); err != nil {
		return fmt.Errorf("empty partial file: %w", err)
	}
	p.bytes, p.origin = 0, o
	data, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encode origin: %w", err)
	}
	// A signed URL is a secret: the file is for its owner alone.
	if err := os.WriteFile(p.sidecar(), data, 0o600); err != nil {
		return fmt.Errorf("record origin: %w", err)
	}
	return nil
}

// Write appends.
func (p *partial) Write(b []byte) (int, error) {
	n, err := p.f.WriteAt(b, p.bytes)
	p.bytes += int64(n)
	return n, err
}

// reader reads the file from its start.
func (p *partial) reader() io.ReadSeeker { return io.NewSectionReader(p.f, 0, p.bytes) }

// publish makes the complete file durable under its final name.
func (p *partial) publish() error {
	if err := p.f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", p.path(), err)
	}
	if err := os.Rename(p.path(), p.destination()); err != nil {
		return fmt.Errorf("publish model: %w", err)
	}
	p.done = true
	if err := os.Remove(p.sidecar()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("publish model: %w", err)
	}
	return syncDir(p.dir)
}

// discard removes the file and its sidecar.
func (p *partial) discard() error {
	p.done = true
	for _, path := range []string{p.sidecar(), p.path()} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("discard partial file: %w", err)
		}
	}
	return nil
}

// close unlocks the file. It is kept only if a later pull can resume it.
func (p *partial) close() error {
	var err error
	if resumable := p.bytes > 0 && p.origin.validator() != ""; !resumable && !p.done {
		err = p.discard()
	}
	return errors.Join(err, p.f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return nil
}
