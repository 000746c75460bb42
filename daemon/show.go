package daemon

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Show is the configuration that a daemon would run with, as a file: defaults,
// flags and paths filled in.
func (c Config) Show() (string, error) {
	var b bytes.Buffer
	if err := toml.NewEncoder(&b).Encode(c); err != nil {
		return "", fmt.Errorf("show configuration: %w", err)
	}
	return b.String(), nil
}

// MarshalText writes what UnmarshalText reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// MarshalText writes what UnmarshalText reads.
func (m FileMode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// MarshalText writes what UnmarshalText reads.
func (l Level) MarshalText() ([]byte, error) {
	for name, v := range levels {
		if v == l.Level {
			return []byte(name), nil
		}
	}
	return []byte(strings.ToLower(slog.Level(l.Level).String())), nil
}
