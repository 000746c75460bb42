package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"edged/infer"
)

// fakeEngine is an engine whose loading and answers the test decides.
type fakeEngine struct {
	loads chan error // one value ends Load

	mu     sync.Mutex // guards everything that follows
	status infer.Status
	last   *infer.Request

	maxQueue int   // as last set
	proof    error // that Prove returns
	proofs   int   // calls of it
	drops    int   // calls of DropIdle

	generate func(ctx context.Context, emit func(infer.Delta) error) (infer.Result, error)
}

func newFakeEngine() *fakeEngine {
	return &fakeEngine{loads: make(chan error, 1), status: infer.Status{State: infer.Loading, Load: infer.LoadProgress{Model: "m", Done: 40, Total: 100}}}
}

func (f *fakeEngine) Load(ctx context.Context, _ string, progress func(infer.LoadProgress)) error {
	progress(infer.LoadProgress{Model: "m", Done: 40, Total: 100})
	select {
	case err := <-f.loads:
		if err == nil {
			f.set(func(s *infer.Status) { *s = infer.Status{State: infer.Ready, Model: "m", Context: 512} })
		}
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (f *fakeEngine) Embed(context.Context, *infer.EmbedRequest, func()) (infer.Embeddings, error) {
	return infer.Embeddings{}, errors.New("the fake makes no vectors")
}

func (f *fakeEngine) set(change func(*infer.Status)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.status)
}

func (f *fakeEngine) Status() infer.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

func (f *fakeEngine) SetMaxQueue(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.maxQueue = n
}

// Prove costs nothing and holds as long as the engine is ready.
func (f *fakeEngine) Prove(context.Context, time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.proofs++
	return f.proof
}

func (f *fakeEngine) DropIdle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drops++
}

func (f *fakeEngine) Drain(context.Context) error { return nil }

func (f *fakeEngine) Generate(ctx context.Context, req *infer.Request, emit func(infer.Delta) error) (infer.Result, error) {
	f.mu.Lock()
	f.last = req
	f.mu.Unlock()
	return f.generate(ctx, emit)
}

func (f *fakeEngine) CountTokens(context.Context, *infer.Request) (int, error) { return 0, nil }

func (f *fakeEngine) SnapshotKey(string) (infer.Key, bool) { return infer.Key{}, false }

func (f *fakeEngine) Models() []infer.ModelInfo {
	return []infer.ModelInfo{{Name: "m", Resident: true, Context: 512, TrainContext: 1024, Params: 7, Bytes: 8, Vocab: 9, Modified: time.Unix(5, 0)}}
}

func (f *fakeEngine) Tokenize(_ context.Context, model, text string, addSpecial, parseSpecial bool) ([]infer.Token, error) {
	if model != "m" {
		return nil, &infer.ModelError{Model: model, Known: []string{"m"}}
	}
	return []infer.Token{{ID: 3, Piece: []byte(text)}}, nil
}

func (f *fakeEngine) Detokenize(context.Context, string, []int32) (string, error) {
	return "aüb", nil
}

// managed is a service under test with a service manager's ends of everything.
type managed struct {
	engine  *fakeEngine
	signals chan os.Signal
	socket  string
	file    string
	level   *slog.LevelVar
	log     *logBuffer
	manager *net.UnixConn // what sd_notify sends
	service *service
	done    chan error
}

// startService runs a service with a configuration file until the test ends.
func startService(t *testing.T, doc string) *managed {
	t.Helper()
	dir := t.TempDir()
	m := &managed{
		engine: newFakeEngine(), signals: make(chan os.Signal, 4), socket: filepath.Join(dir, "s", "edged.sock"),
		file: writeFile(t, filepath.Join(dir, "c", "config.toml"), doc), level: new(slog.LevelVar), log: new(logBuffer), done: make(chan error, 1),
	}
	notifySocket := filepath.Join(dir, "notify")
	var err error
	if m.manager, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notifySocket, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.manager.Close() })
	t.Setenv("NOTIFY_SOCKET", notifySocket)

	opt := Options{
		Source:  Source{File: m.file, Flags: Overrides{Socket: m.socket}, Paths: Paths{Socket: m.socket}},
		Log:     slog.New(slog.NewTextHandler(m.log, &slog.HandlerOptions{Level: m.level})),
		Level:   m.level,
		Signals: m.signals,
		Started: time.Now(),
		Version: "test",
	}
	read, cfg, err := opt.Source.read()
	if err != nil {
		t.Fatal(err)
	}
	ls, err := listen(cfg.Socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	m.service = newService(opt, cfg, m.engine, m.engine, nil, nil)
	m.service.doc = read
	go func() { m.done <- m.service.run(ctx, ls) }()
	t.Cleanup(func() {
		cancel()
		<-m.done
	})
	return m
}

// newTestService makes a service with a configuration file that does not run.
func newTestService(t *testing.T, doc string) *service {
	t.Helper()
	opt := Options{
		Source: Source{File: writeFile(t, filepath.Join(t.TempDir(), "config.toml"), doc), Paths: Paths{Sessions: "/s"}},
		Log:    slog.New(slog.DiscardHandler), Level: new(slog.LevelVar), Started: time.Now(),
	}
	read, cfg, err := opt.Source.read()
	if err != nil {
		t.Fatal(err)
	}
	f := newFakeEngine()
	d := newService(opt, cfg, f, f, nil, nil)
	d.doc = read
	return d
}

func testLog(b *logBuffer) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

// expect reads the service manager's messages until one contains text.
func (m *managed) expect(t *testing.T, text string) string {
	t.Helper()
	if err := m.manager.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var seen []string
	buf := make([]byte, 4096)
	for {
		n, err := m.manager.Read(buf)
		if err != nil {
			t.Fatalf("no notification with %q, only %q: %v\nlog:\n%s", text, seen, err, m.log)
		}
		seen = append(seen, string(buf[:n]))
		if strings.Contains(string(buf[:n]), text) {
			return string(buf[:n])
		}
	}
}

// end waits for the service, which must have been told to stop.
func (m *managed) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-m.done:
		m.done <- nil // for the cleanup
		return err
	case <-time.After(10 * time.Second):
		t.Fatalf("the service does not end; log:\n%s", m.log)
		return nil
	}
}

// logBuffer is a log that tests read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var errTest = errors.New("test failure")
