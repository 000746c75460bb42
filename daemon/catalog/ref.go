package catalog

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// RefKind says where a Ref points.
type RefKind int

// The forms of a Ref.
const (
	RefCatalogue RefKind = iota // a name in the catalogue
	RefURL                      // https://...
	RefHub                      // hf:OWNER/REPO/FILE
	RefPath                     // a local file
)

// Ref names a model to pull. The zero Ref names nothing.
type Ref struct {
	Kind RefKind
	// Target is the catalogue name, the URL, OWNER/REPO/FILE, or the path.
	Target string
}

// ParseRef understands a catalogue name, https://..., hf:OWNER/REPO/FILE (FILE
// may lie in a folder) and local paths. A word is a path if it contains a slash
// or ends in .gguf.
func ParseRef(s string) (Ref, error) {
	scheme, rest, hasScheme := strings.Cut(s, "://")
	switch {
	case s == "":
		return Ref{}, errors.New("no model is named")
	case hasScheme && strings.EqualFold(scheme, "https"):
		return parseURLRef("https://" + rest)
	case hasScheme:
		return Ref{}, fmt.Errorf("models are pulled over https:// only, not %s://", scheme)
	case strings.HasPrefix(s, "hf:"):
		return parseHubRef(strings.TrimPrefix(s, "hf:"))
	case strings.ContainsRune(s, filepath.Separator) || strings.HasSuffix(s, ".gguf"):
		return Ref{Kind: RefPath, Target: s}, nil
	default:
		return Ref{Kind: RefCatalogue, Target: s}, nil
	}
}

func parseURLRef(s string) (Ref, error) {
	u, err := url.Parse(s)
	if err != nil {
		return Ref{}, fmt.Errorf("parse model URL: %w", err)
	}
	if err := checkURL(u); err != nil {
		return Ref{}, err
	}
	if err := checkFileName(path.Base(u.Path)); err != nil {
		return Ref{}, fmt.Errorf("%s: %w", shortURL(u), err)
	}
	return Ref{Kind: RefURL, Target: s}, nil
}

// checkURL refuses what must not be fetched. It applies to redirects too.
func checkURL(u *url.URL) error {
	switch {
	case u.Scheme != "https":
		return fmt.Errorf("models are pulled over https only, not from %s", shortURL(u))
	case u.Host == "":
		return fmt.Errorf("no host in URL %s", shortURL(u))
	case u.User != nil:
		return fmt.Errorf("URL of %s holds a user name; credentials in URLs end up in logs and are refused", u.Host)
	}
	return nil
}

// shortURL is u without the parts that may hold secrets.
func shortURL(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

var hubComponent = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._+-]*$`)

func parseHubRef(s string) (Ref, error) {
	components := strings.Split(s, "/")
	if len(components) < 3 {
		return Ref{}, fmt.Errorf("a hub model is given as hf:OWNER/REPO/FILE, got hf:%s", s)
	}
	for _, c := range components {
		if !hubComponent.MatchString(c) {
			return Ref{}, fmt.Errorf("hf:%s: %q is not the name of an owner, repository, folder or file", s, c)
		}
	}
	if err := checkFileName(components[len(components)-1]); err != nil {
		return Ref{}, fmt.Errorf("hf:%s: %w", s, err)
	}
	return Ref{Kind: RefHub, Target: s}, nil
}

const maxFileNameBytes = 200 // leaves room for suffixes below the usual limit of 255

var fileNameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*\.gguf$`)

// checkFileName accepts names that are safe in the models folder and in
// messages. In particular they hold no separator and are no hidden file.
func checkFileName(name string) error {
	if !fileNameForm.MatchString(name) {
		return fmt.Errorf("a model file is called NAME.gguf, of letters, digits, '.', '_', '+' and '-', got %q", name)
	}
	if len(name) > maxFileNameBytes {
		return fmt.Errorf("file name of %d bytes, the limit is %d", len(name), maxFileNameBytes)
	}
	return nil
}
