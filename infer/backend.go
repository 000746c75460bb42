package infer

import (
	"errors"
	"fmt"
	"strings"

	"edged/infer/cpu"
	"edged/infer/cuda"
	"edged/infer/graph"
	"edged/infer/ref"
)

// ErrBackend is wrapped when a backend does not exist or cannot run here.
var ErrBackend = errors.New("backend is not available")

// Backends lists the names that NewBackend takes in this build.
func Backends() []string { return []string{"cpu", "cuda", "ref"} }

// NewBackend makes the backend of that name. No other one is ever put in its
// place.
func NewBackend(name string) (graph.Backend, error) {
	switch name {
	case "cpu":
		return cpu.New(), nil
	case "ref":
		return ref.New(), nil
	case "cuda":
		b, err := cuda.New(0)
		if errors.Is(err, cuda.ErrNoDriver) {
			return nil, fmt.Errorf("open backend cuda: %w: %w", ErrBackend, err)
		}
		if err != nil {
			return nil, fmt.Errorf("open backend cuda: %w", err)
		}
		return b, nil
	}
	return nil, fmt.Errorf("open backend %q: %w: known: %s", name, ErrBackend, strings.Join(Backends(), ", "))
}

// PlanningSizer knows what programs take on this machine's processor, or on a GPU as
// plans assume one: none has to be there.
func PlanningSizer(gpu bool) graph.Sizer {
	if gpu {
		return cuda.H100()
	}
	return cpu.New().(graph.Sizer)
}
