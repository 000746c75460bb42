package infer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"edged/infer/gguf"
	"edged/infer/graph"
)

// changingToy serves toys whose files count as changed once for each that is put
// into changes.
func changingToy(t *testing.T, cfg Config, b *toyBackend) (e *Engine, changes chan error) {
	t.Helper()
	changes = make(chan error, 1)
	open := func(path string) (*modelFile, error) {
		m, err := toyOpen(toyContext)(path)
		if err != nil {
			return nil, err
		}
		m.unchanged = func() error {
			select {
			case err := <-changes:
				return err
			default:
				return nil
			}
		}
		return m, nil
	}
	e, err := newEngine(cfg, open, func(string) (graph.Backend, error) { return b, nil })
	if err != nil {
		t.Fatal(err)
	}
	run(t, e)
	loadDefault(t, e)
	return e, changes
}

// TestChangedFile: nothing is computed with the weights of a file that has changed; who
// was being answered is told to come again, and the file is loaded as it is now.
func TestChangedFile(t *testing.T) {
	for _, switches := range []bool{false, true} {
		var loads atomic.Int32
		var changes chan error
		var answering atomic.Bool
		b := &toyBackend{compile: func() error { loads.Add(1); return nil }}
		b.step = func(context.Context, *graph.Rows) error { // by the step: the engine does not wait for who reads an answer
			if answering.CompareAndSwap(true, false) {
				changes <- gguf.ErrChanged
			}
			return nil
		}
		cfg := toyConfig()
		cfg.AllowSwitch = switches
		var e *Engine
		e, changes = changingToy(t, cfg, b)
		answering.Store(true)
		_, _, err := collect(t.Context(), e, &Request{Prompt: prompt(1, 2), MaxTokens: 50})
		if !errors.Is(err, ErrLoading) || !errors.Is(err, gguf.ErrChanged) {
			t.Errorf("the request ended with %v, want ErrLoading and ErrChanged", err)
		}
		if err := e.Load(t.Context(), "", nil); err != nil { // behind the one that has begun
			t.Fatal(err)
		}
		if _, _, err := collect(t.Context(), e, &Request{Prompt: prompt(1, 2), MaxTokens: 2}); err != nil {
			t.Errorf("the next request: %v", err)
		}
		changes <- gguf.ErrChanged
		if err := e.Prove(t.Context(), 0); !errors.Is(err, ErrLoading) {
			t.Errorf("the proof with a changed file: %v, want ErrLoading", err)
		}
		if err := e.Load(t.Context(), "", nil); err != nil {
			t.Fatal(err)
		}
		if err := e.Prove(t.Context(), 0); err != nil {
			t.Errorf("the next proof: %v", err)
		}
		if n := loads.Load(); n != 3 {
			t.Errorf("%d loads, want 3", n)
		}
	}
}

// startCopy serves a copy of the repository's model, which may be damaged.
func startCopy(t *testing.T, switches bool, open func(string) (*modelFile, error)) (e *Engine, path string, good []byte) {
	t.Helper()
	good, err := os.ReadFile("../models/needle-26m-q8_0.gguf")
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "needle.gguf")
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Models: []ModelConfig{{Name: "needle", Path: path, Context: 1024}}, Backend: "cpu", ChunkTok: 64, Threads: 1, HostBytes: 1 << 30, AllowSwitch: switches}
	if e, err = newEngine(cfg, open, NewBackend); err != nil {
		t.Fatal(err)
	}
	run(t, e)
	loadDefault(t, e)
	return e, path, good
}

// TestCutFile cuts the file of a resident model: a model that has become useless is
// refused with the reason, and served when it is there again.
func TestCutFile(t *testing.T) {
	for _, switches := range []bool{false, true} {
		testCutFile(t, switches)
	}
}

func testCutFile(t *testing.T, switches bool) {
	e, path, good := startCopy(t, switches, openModel)
	_, key, code := notes()
	question := "Note: the access code of " + key(0) + " is " + code(0) + ".\nWhat is the access code of " + key(0) + "?"
	before, _ := ask(t, e, question)
	if !strings.Contains(before.Text, code(0)) {
		t.Fatalf("the model answers %q", before.Text)
	}
	if err := os.Truncate(path, 1<<20); err != nil {
		t.Fatal(err)
	}
	_, _, err := collect(t.Context(), e, &Request{Prompt: prompt(1, 2), MaxTokens: 2})
	if !errors.Is(err, ErrLoading) || !errors.Is(err, gguf.ErrChanged) {
		t.Errorf("behind the cut: %v, want ErrLoading and ErrChanged", err)
	}
	if err := e.Load(t.Context(), "", nil); err == nil {
		t.Error("the cut file is loaded")
	}
	if s := e.Status(); s.State != Failed || !s.Retries || !strings.Contains(s.Reason, "past the end of the file") {
		t.Errorf("state %v, tries again: %v: %s", s.State, s.Retries, s.Reason)
	}
	for range 2 {
		if _, _, err := collect(t.Context(), e, &Request{Prompt: prompt(1, 2), MaxTokens: 2}); !errors.Is(err, ErrNotLoaded) || !strings.Contains(err.Error(), "past the end of the file") {
			t.Errorf("while the file is bad: %v, want ErrNotLoaded and why", err)
		}
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if after, _ := ask(t, e, question); after.Text != before.Text {
		t.Errorf("with the file again %q, want %q", after.Text, before.Text)
	}
}

// TestMendedFileIsFound: who only asks whether the model can answer finds it loaded once its
// file is another one, and a bad file is not read again and again.
func TestMendedFileIsFound(t *testing.T) {
	var opened atomic.Int32
	e, path, good := startCopy(t, false, func(path string) (*modelFile, error) {
		opened.Add(1)
		return openModel(path)
	})
	if err := os.Truncate(path, 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := e.Prove(t.Context(), 0); !errors.Is(err, ErrLoading) {
		t.Errorf("behind the cut: %v, want ErrLoading", err)
	}
	if err := e.Load(t.Context(), "", nil); err == nil {
		t.Error("the cut file is loaded")
	}
	tried := opened.Load()
	for range 3 {
		if err := e.Prove(t.Context(), 0); !errors.Is(err, ErrFailed) {
			t.Errorf("with the same bad file: %v, want ErrFailed", err)
		}
	}
	if n := opened.Load() - tried; n > 0 {
		t.Errorf("the same bad file was opened %d times more", n)
	}
	mended := path + ".new" // of the same name by a rename
	if err := errors.Join(os.WriteFile(mended, good, 0o600), os.Rename(mended, path)); err != nil {
		t.Fatal(err)
	}
	if err := e.Prove(t.Context(), 0); !errors.Is(err, ErrLoading) {
		t.Errorf("with a good file: %v, want ErrLoading", err)
	}
	if err := e.Load(t.Context(), "", nil); err != nil {
		t.Fatal(err)
	}
	if err := e.Prove(t.Context(), 0); err != nil {
		t.Errorf("with a good file, loaded: %v", err)
	}
}

// TestOtherModelWhileOneFailed: where the model stays, a failed one makes no way for another.
func TestOtherModelWhileOneFailed(t *testing.T) {
	e, changes := changingToy(t, toyConfig(), &toyBackend{compile: failAfter(1)})
	changes <- gguf.ErrChanged
	if err := e.Prove(t.Context(), 0); !errors.Is(err, ErrLoading) {
		t.Errorf("the proof with a changed file: %v, want ErrLoading", err)
	}
	if err := e.Load(t.Context(), "", nil); !errors.Is(err, errNoRoom) {
		t.Errorf("the load: %v", err)
	}
	if _, _, err := collect(t.Context(), e, &Request{Model: "other", Prompt: prompt(1), MaxTokens: 1}); !errors.Is(err, ErrFailed) {
		t.Errorf("another model: %v, want ErrFailed", err)
	}
	if _, _, err := collect(t.Context(), e, &Request{Prompt: prompt(1), MaxTokens: 1}); !errors.Is(err, ErrNotLoaded) || !strings.Contains(err.Error(), "no room") {
		t.Errorf("the model: %v, want ErrNotLoaded and why", err)
	}
}

// TestTriedAgainAfterAWhile: what is not the file's fault is tried again, but not by
// every request.
func TestTriedAgainAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var compiled, bad atomic.Int32
		e, changes := changingToy(t, toyConfig(), &toyBackend{compile: func() error {
			if compiled.Add(1); bad.Load() > 0 {
				return errNoRoom
			}
			return nil
		}})
		bad.Store(1)
		changes <- gguf.ErrChanged
		time.Sleep(time.Second)
		if err := e.Prove(t.Context(), 0); !errors.Is(err, ErrLoading) {
			t.Errorf("the proof with a changed file: %v, want ErrLoading", err)
		}
		synctest.Wait()
		ask := func() error {
			_, _, err := collect(t.Context(), e, &Request{Prompt: prompt(1), MaxTokens: 1})
			return err
		}
		for range 3 {
			if err := ask(); !errors.Is(err, ErrNotLoaded) {
				t.Errorf("soon: %v, want ErrNotLoaded", err)
			}
		}
		if n := compiled.Load(); n != 2 {
			t.Errorf("compiled %d times, want 2", n)
		}
		time.Sleep(retrySame)
		if err := ask(); !errors.Is(err, errNoRoom) {
			t.Errorf("after a while: %v", err)
		}
		bad.Store(0)
		if err := ask(); !errors.Is(err, ErrNotLoaded) {
			t.Errorf("soon after that: %v, want ErrNotLoaded", err)
		}
		time.Sleep(retrySame)
		if err := ask(); err != nil {
			t.Errorf("with room: %v", err)
		}
	})
}

var errNoRoom = errors.New("no room")

// failAfter lets n compilations succeed.
func failAfter(n int32) func() error {
	var done atomic.Int32
	return func() error {
		if done.Add(1) > n {
			return errNoRoom
		}
		return nil
	}
}

// TestReplacedWhileWaiting: a prompt that was made for another model of the same
// name and vocabulary is not read by this one.
func TestReplacedWhileWaiting(t *testing.T) {
	cfg := toyConfig()
	cfg.AllowSwitch = true
	var files atomic.Int32
	e, err := newEngine(cfg, func(path string) (*modelFile, error) {
		m, err := toyOpen(toyContext)(path)
		if err == nil && path == "plain" {
			m.front.identity[0] = byte(files.Add(1))
		}
		return m, err
	}, func(string) (graph.Backend, error) { return &toyBackend{}, nil })
	if err != nil {
		t.Fatal(err)
	}
	run(t, e)
	loadDefault(t, e)
	_, _, err = collect(t.Context(), e, &Request{Model: "other", Prompt: prompt(1), MaxTokens: 1})
	if !errors.Is(err, ErrLoading) || !strings.Contains(err.Error(), "replaced") {
		t.Errorf("the request for the file as it was: %v, want ErrLoading", err)
	}
	if _, _, err = collect(t.Context(), e, &Request{Model: "other", Prompt: prompt(1), MaxTokens: 1}); err != nil {
		t.Errorf("the next: %v", err)
	}
}

// TestCutFileWhileItIsRead: a file that is cut between a look at it and the step that
// reads it costs the step and not the process.
func TestCutFileWhileItIsRead(t *testing.T) {
	e, path, _ := startCopy(t, true, func(path string) (*modelFile, error) {
		m, err := openModel(path)
		if err == nil {
			m.unchanged = func() error { return nil }
		}
		return m, err
	})
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if _, _, err := collect(context.Background(), e, &Request{Prompt: prompt(1, 2), MaxTokens: 2}); !errors.Is(err, ErrFailed) {
		t.Errorf("error is %v, want ErrFailed", err)
	}
}
