package daemon

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"edged/infer"
)

// maxConfigBytes bounds a configuration file. Real ones have a few hundred bytes.
const maxConfigBytes = 1 << 20

// Source says where a configuration comes from.
type Source struct {
	File     string    // TOML file
	Required bool      // a missing File is an error; otherwise it counts as empty
	Flags    Overrides // what the command line sets; stronger than the file
	Paths    Paths     // what neither sets
	Home     string    // what "~/" stands for
}

// Overrides are the settings that the command line may replace.
type Overrides struct {
	Socket  string
	Models  []string // files or names; they replace the file's list
	Backend string
	Threads int // 0 = not set
	Context int // tokens of every model in Models; 0 = not set
}

// Load reads, completes and validates the configuration.
func (s Source) Load() (Config, error) {
	_, c, err := s.read()
	return c, err
}

// document is what was read of a configuration file, to tell whether it has changed.
type document struct{ text, fault string }

// document reads the file.
func (s Source) document() (document, error) {
	text, err := readConfigFile(s.File, s.Required)
	if err != nil {
		return document{fault: err.Error()}, err
	}
	return document{text: string(text)}, nil
}

// read is Load that tells what it has read. Reading the same source again is what a
// reload does.
func (s Source) read() (document, Config, error) {
	doc, err := s.document()
	if err != nil {
		return doc, Config{}, err
	}
	c, err := ParseConfig(s.File, []byte(doc.text))
	if err != nil {
		return doc, Config{}, err
	}
	if err := s.complete(&c); err != nil {
		return doc, Config{}, err
	}
	return doc, c, nil
}

func readConfigFile(file string, required bool) ([]byte, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) && !required {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	doc, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if len(doc) > maxConfigBytes {
		return nil, fmt.Errorf("read configuration %s: larger than %d bytes", file, maxConfigBytes)
	}
	return doc, nil
}

// Engine reads the section of the engine alone: models need not be there.
func (s Source) Engine() (Engine, error) {
	doc, err := s.document()
	if err != nil {
		return Engine{}, err
	}
	c, err := ParseConfig(s.File, []byte(doc.text))
	return c.Engine, err
}

// complete applies the flags and the default paths, and makes paths absolute.
func (s Source) complete(c *Config) error {
	base, err := filepath.Abs(filepath.Dir(s.File)) // which --config may have named from here
	if err != nil {
		return fmt.Errorf("find the configuration's folder: %w", err)
	}
	for i := range c.Models {
		if c.Models[i].Path != "" {
			c.Models[i].Path = s.absolute(base, c.Models[i].Path)
		}
	}
	if c.Socket.Path != "" {
		c.Socket.Path = s.absolute(base, c.Socket.Path)
	}
	if c.TCP.TokenFile != "" {
		c.TCP.TokenFile = s.absolute(base, c.TCP.TokenFile)
	}
	s.completeStore(&c.Store, base)
	if err := s.applyFlags(c); err != nil {
		return err
	}
	if c.Socket.Path == "" {
		c.Socket.Path = s.Paths.Socket
	}
	for i := range c.Models {
		m := &c.Models[i]
		if m.Policy == "" {
			m.Policy = infer.DefaultPolicy
		}
		if m.Path == "" {
			found, err := s.Paths.FindModel(m.Name)
			if err != nil {
				return fmt.Errorf("model %s: %w", m.Name, err)
			}
			m.Path = found
		}
	}
	return nil
}

// absolute resolves a path of the file against the file's folder, so that it
// does not depend on where the daemon was started.
func (s Source) absolute(base, path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		return filepath.Join(s.Home, rest)
	}
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(base, path)
}

func (s Source) applyFlags(c *Config) error {
	f := s.Flags
	if f.Socket != "" {
		c.Socket.Path = f.Socket
	}
	if f.Backend != "" {
		c.Engine.Backend = f.Backend
	}
	if f.Threads != 0 {
		c.Engine.Threads = f.Threads
	}
	if len(f.Models) > 0 {
		c.Models, c.DefaultModel = nil, ""
		for _, arg := range f.Models {
			m, err := s.Paths.modelFromFlag(arg)
			if err != nil {
				return err
			}
			c.Models = append(c.Models, m)
		}
	}
	if f.Context != 0 {
		for i := range c.Models {
			c.Models[i].Context = f.Context
		}
	}
	var errs []error
	for _, p := range c.validate() {
		errs = append(errs, fmt.Errorf("command line: %s", p))
	}
	return errors.Join(errs...)
}
