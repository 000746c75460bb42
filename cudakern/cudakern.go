// Package cudakern holds the CUDA kernels: their sources, the PTX that is
// compiled from them and committed, a manifest of what was compiled, and the Go
// structs that their parameters are packed from. No CUDA toolkit is needed to
// build or run; [Load] hands the PTX to the driver, which compiles it for the
// device and keeps the result in its own cache.
//
// # Ownership
//
// A [Library] owns its modules on the device until Close. Its functions are
// invalid from then on.
//
// # Goroutine-safety
//
// A Library is read-only once loaded.
//
// # Failure modes
//
// Load refuses devices older than compute capability 8.0 with [ErrOldDevice];
// drivers too old for the PTX give driver.ErrTooNew.
package cudakern

//go:generate python3 generate.py ../build/nvidia

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"edged/cudakern/driver"
)

//go:embed ptx/*.ptx
var ptx embed.FS

//go:embed manifest.json
var manifestJSON []byte

// ErrOldDevice is wrapped when a device lacks instructions that kernels use.
var ErrOldDevice = errors.New("the GPU is too old: compute capability 8.0 is needed")

// Manifest is what was compiled from which sources.
type Manifest struct {
	SourceSHA256 string            `json:"source_sha256"`
	Compiler     string            `json:"compiler"`
	Kernels      map[string]Kernel `json:"kernels"`
}

// Kernel is one entry point.
type Kernel struct {
	Module    string               `json:"module"`
	Params    []int                `json:"params"` // bytes of each
	Resources map[string]Resources `json:"resources"`
}

// Resources are what a kernel takes when compiled for a variant.
type Resources struct {
	Registers int `json:"registers"` // per thread
	Spilled   int `json:"spilled"`   // bytes per thread
	Shared    int `json:"shared"`    // static bytes per block
}

// ReadManifest is the manifest of the committed PTX.
func ReadManifest() (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(manifestJSON, &m); err != nil {
		return m, fmt.Errorf("read kernel manifest: %w", err)
	}
	return m, nil
}

// Library is all kernels, loaded on one device.
type Library struct {
	dev       *driver.Device
	modules   []driver.Module
	functions map[string]driver.Function
}

// variants is the PTX that a device runs: that for 9.0 lets kernels overlap, and
// some kernels are for 9.0 alone.
func variants(info driver.Info) ([]string, error) {
	switch {
	case info.Major == 9 && info.Minor == 0:
		return []string{"sm_90", "sm_90a"}, nil
	case info.Major >= 9:
		return []string{"sm_90"}, nil
	case info.Major == driver.OldestMajor:
		return []string{"sm_80"}, nil
	}
	return nil, fmt.Errorf("%w: %s has %d.%d", ErrOldDevice, info.Name, info.Major, info.Minor)
}

// Load loads every kernel, so that nothing is left to be compiled later.
func Load(dev *driver.Device) (*Library, error) {
	l := &Library{dev: dev, functions: map[string]driver.Function{}}
	if err := l.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("load CUDA kernels: %w", err), l.Close())
	}
	return l, nil
}

func (l *Library) load() error {
	vs, err := variants(l.dev.Info)
	if err != nil {
		return err
	}
	m, err := ReadManifest()
	if err != nil {
		return err
	}
	code := map[string]string{} // variant by module
	for _, k := range m.Kernels {
		for _, v := range vs {
			if _, ok := k.Resources[v]; ok {
				code[k.Module] = v
			}
		}
	}
	modules, err := l.loadModules(code)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(m.Kernels)) {
		k := m.Kernels[name]
		v, ok := code[k.Module]
		if !ok {
			continue // for other devices
		}
		static := k.Resources[v].Shared
		if l.functions[name], err = l.dev.Function(modules[k.Module], name, l.dev.Info.SharedBytes-static); err != nil {
			return err
		}
	}
	return nil
}

// loadModules loads the given variants, each on a thread of its own: the driver
// may have to compile them.
func (l *Library) loadModules(code map[string]string) (map[string]driver.Module, error) {
	var g errgroup.Group
	var mu sync.Mutex // guards loaded and l.modules
	loaded := map[string]driver.Module{}
	for module, v := range code {
		g.Go(func() error {
			text, err := ptx.ReadFile("ptx/" + module + "." + v + ".ptx")
			if err != nil {
				return err
			}
			mod, err := l.dev.Load(text)
			if err != nil {
				return fmt.Errorf("module %s: %w", module, err)
			}
			mu.Lock()
			defer mu.Unlock()
			loaded[module] = mod
			l.modules = append(l.modules, mod)
			return nil
		})
	}
	return loaded, g.Wait()
}

// Function finds a kernel.
func (l *Library) Function(name string) (driver.Function, bool) {
	f, ok := l.functions[name]
	return f, ok
}

// Close unloads all kernels.
func (l *Library) Close() error {
	var errs []error
	for _, m := range l.modules {
		errs = append(errs, l.dev.Unload(m))
	}
	l.modules, l.functions = nil, nil
	return errors.Join(errs...)
}
