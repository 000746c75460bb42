package catalog

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Model is a model in a models folder. A split set is one model.
type Model struct {
	Name    string    // of the file, without .gguf and part number
	Path    string    // of the file, or of the first part, present or not
	Bytes   int64     // of all parts that are present
	Parts   int       // files that make up the model
	Missing int       // of them, how many are absent
	ModTime time.Time // of the newest part
}

// List returns the GGUF files of dir, sorted by name. Links are followed; what
// is no regular file is left out, and a missing folder holds no models. The
// files are not opened.
func List(dir string) ([]Model, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list models: %w", err)
	}
	models := make(map[string]*Model) // by path
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".gguf") || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		info, err := os.Stat(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) { // a dangling link, or removed just now
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list models: %w", err)
		}
		if info.Mode().IsRegular() {
			addFile(models, dir, info.Size(), info.ModTime(), e.Name())
		}
	}
	list := make([]Model, 0, len(models))
	for _, m := range models {
		list = append(list, *m)
	}
	slices.SortFunc(list, func(a, b Model) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Path, b.Path)) })
	return list, nil
}

// addFile counts a file towards its model.
func addFile(models map[string]*Model, dir string, bytes int64, modTime time.Time, name string) {
	m := Model{Name: strings.TrimSuffix(name, ".gguf"), Path: filepath.Join(dir, name), Parts: 1}
	// What only looks like a part, such as number 7 of 3, stands for itself.
	if s, ok := parseSplit(name); ok && 1 <= s.part && s.part <= s.parts {
		m = Model{Name: s.stem, Path: filepath.Join(dir, s.file(1)), Parts: s.parts}
	}
	known := models[m.Path]
	if known == nil {
		m.Missing = m.Parts
		known = &m
		models[m.Path] = known
	}
	known.Bytes += bytes
	known.Missing--
	if modTime.After(known.ModTime) {
		known.ModTime = modTime
	}
}
