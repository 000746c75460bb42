package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
)

// ErrNoModel is wrapped when the configuration names no model to serve.
var ErrNoModel = errors.New("no model is configured")

// splitPart is how the parts of a split GGUF are called; the first is opened.
var splitPart = regexp.MustCompile(`-(\d{5})-of-\d{5}$`)

// nameOfFile is the model name that a GGUF file implies: its base name without
// extension and part number, with whatever a name cannot hold replaced.
func nameOfFile(path string) string {
	name := strings.TrimSuffix(filepath.Base(path), ".gguf")
	name = splitPart.ReplaceAllString(name, "")
	name = regexp.MustCompile(`[^A-Za-z0-9._:-]`).ReplaceAllString(name, "-")
	return strings.TrimLeft(name, "._:-")
}

// Installed lists the models in the lookup folders, by name. A file hides those
// of the same name in later folders.
func (p Paths) Installed() map[string]string {
	found := map[string]string{}
	for _, dir := range p.Lookup {
		files, err := filepath.Glob(filepath.Join(dir, "*.gguf"))
		if err != nil { // only for a folder name that is a bad pattern
			continue
		}
		for _, f := range files {
			if m := splitPart.FindStringSubmatch(strings.TrimSuffix(f, ".gguf")); m != nil && m[1] != "00001" {
				continue
			}
			if name := nameOfFile(f); name != "" && found[name] == "" {
				found[name] = f
			}
		}
	}
	return found
}

// FindModel finds the file of an installed model.
func (p Paths) FindModel(name string) (string, error) {
	installed := p.Installed()
	if f, ok := installed[name]; ok {
		return f, nil
	}
	return "", fmt.Errorf("%w in %s; installed: %s; `edged models pull` fetches one", fs.ErrNotExist, strings.Join(p.Lookup, " and "), listNames(installed))
}

// modelFromFlag understands a file or the name of an installed model.
func (p Paths) modelFromFlag(arg string) (Model, error) {
	if fi, err := os.Stat(arg); err == nil && !fi.IsDir() {
		abs, err := filepath.Abs(arg)
		if err != nil {
			return Model{}, fmt.Errorf("find model %s: %w", arg, err)
		}
		return Model{Name: nameOfFile(abs), Path: abs}, nil
	}
	if strings.ContainsRune(arg, filepath.Separator) || strings.HasSuffix(arg, ".gguf") {
		return Model{}, fmt.Errorf("find model: %s is not a file", arg)
	}
	path, err := p.FindModel(arg)
	if err != nil {
		return Model{}, fmt.Errorf("find model %s: neither a file nor an installed model: %w", arg, err)
	}
	return Model{Name: arg, Path: path}, nil
}

// NoModelError says how to get and serve a model.
func (p Paths) NoModelError() error {
	if installed := p.Installed(); len(installed) > 0 {
		return fmt.Errorf("%w; installed: %s; start with `edged serve --model NAME` or add a [[model]] to %s", ErrNoModel, listNames(installed), p.Config)
	}
	return fmt.Errorf("%w; `edged models list` shows what `edged models pull NAME` can fetch; or start with `edged serve --model FILE.gguf`", ErrNoModel)
}

func listNames(models map[string]string) string {
	if len(models) == 0 {
		return "none"
	}
	var names []string
	for n := range models {
		names = append(names, n)
	}
	sort.Strings(names)
	return strings.Join(names, ", ")
}
