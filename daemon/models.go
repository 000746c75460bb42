package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"edged/daemon/catalog"
)

// ErrNoModel is wrapped when the configuration names no model to serve.
var ErrNoModel = errors.New("no model is configured")

var (
	// splitPart is how the parts of a split GGUF are called; the first is opened.
	splitPart = regexp.MustCompile(`-\d{5}-of-\d{5}$`)
	// notInName is what a file name may hold and a model name may not.
	notInName = regexp.MustCompile(`[^A-Za-z0-9._:-]`)
)

// nameOfFile is the model name that a GGUF file implies: its base name without
// extension and part number, with whatever a name cannot hold replaced.
func nameOfFile(path string) string {
	name := strings.TrimSuffix(filepath.Base(path), ".gguf")
	name = splitPart.ReplaceAllString(name, "")
	name = notInName.ReplaceAllString(name, "-")
	return strings.TrimLeft(name, "._:-")
}

// Installed lists the complete models in the lookup folders, sorted by folder
// and name. A model hides those of the same name in later folders.
func (p Paths) Installed() ([]catalog.Model, error) {
	var all []catalog.Model
	seen := map[string]bool{}
	for _, dir := range p.Lookup {
		models, err := catalog.List(dir)
		if err != nil && !errors.Is(err, fs.ErrPermission) { // another user's folder
			return nil, err
		}
		for _, m := range models {
			if m.Missing == 0 && !seen[m.Name] {
				seen[m.Name] = true
				all = append(all, m)
			}
		}
	}
	return all, nil
}

// FindModel finds the file of an installed model.
func (p Paths) FindModel(name string) (string, error) {
	installed, err := p.Installed()
	if err != nil {
		return "", err
	}
	for _, m := range installed {
		if m.Name == name {
			return m.Path, nil
		}
	}
	var closed string
	for _, dir := range p.Lookup {
		if _, err := os.ReadDir(dir); errors.Is(err, fs.ErrPermission) {
			closed += "; no permission to look into " + dir
		}
	}
	return "", fmt.Errorf("%w in %s%s; installed: %s; `edged models pull` fetches one", fs.ErrNotExist, strings.Join(p.Lookup, " and "), closed, listNames(installed))
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

// ModelFile finds the file that arg means: a path, or an installed model.
func (p Paths) ModelFile(arg string) (string, error) {
	m, err := p.modelFromFlag(arg)
	return m.Path, err
}

// NoModelError says how to get and serve a model.
func (p Paths) NoModelError() error {
	installed, err := p.Installed()
	if err != nil {
		return err
	}
	if len(installed) > 0 {
		return fmt.Errorf("%w; installed: %s; start with `edged serve --model NAME` or add a [[model]] to %s", ErrNoModel, listNames(installed), p.Config)
	}
	return fmt.Errorf("%w; `edged models list` shows what `edged models pull NAME` can fetch; or start with `edged serve --model FILE.gguf`", ErrNoModel)
}

func listNames(models []catalog.Model) string {
	if len(models) == 0 {
		return "none"
	}
	var names []string
	for _, m := range models {
		names = append(names, m.Name)
	}
	return strings.Join(names, ", ")
}
