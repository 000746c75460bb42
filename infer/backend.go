package infer

import (
	"errors"
	"fmt"
	"strings"

	"edged/infer/cpu"
	"edged/infer/graph"
	"edged/infer/ref"
)

// ErrBackend is wrapped when a backend does not exist or cannot run here.
var ErrBackend = errors.New("backend is not available")

// Backends lists the names that NewBackend takes in this build.
func Backends() []string { return []string{"cpu", "ref"} }

// NewBackend makes the backend of that name. No other one is ever put in its
// place.
func NewBackend(name string) (graph.Backend, error) {
	switch name {
	case "cpu":
		return cpu.New(), nil
	case "ref":
		return ref.New(), nil
	case "cuda":
		return nil, fmt.Errorf("open backend cuda: %w: this build has no GPU code; choose cpu", ErrBackend)
	}
	return nil, fmt.Errorf("open backend %q: %w: known: %s", name, ErrBackend, strings.Join(Backends(), ", "))
}
