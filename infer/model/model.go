// Package model turns a GGUF file's metadata and tensors into the program of
// its step. It knows the families llama, qwen2, qwen3 and gemma3, and refuses
// every other architecture, and every option it does not implement, by name.
//
// Programs refer to the file's mapping: the file must stay open while they are
// in use. The package holds no state and may be used from any goroutine.
package model

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"edged/infer/gguf"
	"edged/infer/graph"
)

// ErrUnsupported is wrapped when a file asks for what edged does not
// implement: an architecture, a rope scaling, experts.
var ErrUnsupported = errors.New("not supported")

// families maps general.architecture to its traits.
var families = map[string]family{
	"llama":  {interleaved: true},
	"qwen2":  {},
	"qwen3":  {headNorm: true},
	"gemma3": {headNorm: true, sandwich: true, gelu: true, scaledEmbed: true, localLayers: 6},
}

// family is what distinguishes architectures beyond their numbers.
type family struct {
	interleaved bool // rope pairs neighbouring channels
	headNorm    bool // RMSNorm on every query and key head
	sandwich    bool // a second norm after attention and after the MLP
	gelu        bool // gate is GELU's tanh form, else SiLU
	scaledEmbed bool // embeddings times sqrt(hidden)
	localLayers int  // every n-th layer is global, the others see a window; 0: all global
}

// local says whether a layer sees only the window. The pattern is counted
// from the first layer: n-1 local ones, then a global one.
func (f family) local(l int) bool {
	return f.localLayers > 0 && (l+1)%f.localLayers != 0
}

// Architectures lists the supported values of general.architecture.
func Architectures() []string {
	names := make([]string, 0, len(families))
	for n := range families {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Build makes the program of one step from an open model file.
func Build(f *gguf.File) (*graph.Program, error) {
	arch, ok := f.String("general.architecture")
	if !ok {
		return nil, errors.New("build program: the file has no general.architecture")
	}
	fam, ok := families[arch]
	if !ok {
		return nil, fmt.Errorf("build program: architecture %.80q is %w; supported: %s", arch, ErrUnsupported, strings.Join(Architectures(), ", "))
	}
	h, err := readParams(f, arch, fam)
	if err != nil {
		return nil, fmt.Errorf("build %s program: %w", arch, err)
	}
	b := &builder{file: f, fam: fam, h: h, p: &graph.Program{Name: arch, Context: h.context}, ids: map[string]graph.WeightID{}}
	if err := b.build(); err != nil {
		return nil, fmt.Errorf("build %s program: %w", arch, err)
	}
	if err := b.p.Validate(); err != nil {
		return nil, fmt.Errorf("build %s program: %w", arch, err)
	}
	return b.p, nil
}
