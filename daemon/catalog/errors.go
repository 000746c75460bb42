package catalog

import (
	"errors"
	"fmt"
	"io/fs"
)

var (
	// ErrBusy is returned while another Pull of the same file runs.
	ErrBusy = errors.New("another pull of this file is in progress")

	// ErrExists is returned, together with the path, when the file is there
	// and no SHA-256 is known to tell whether it is the right one.
	ErrExists = fmt.Errorf("model %w", fs.ErrExist)

	// ErrBundled is returned for a model that ships with the program.
	ErrBundled = errors.New("model ships with the program")
)

// LicenceError says that the licence of a model must be accepted first.
type LicenceError struct {
	Model   string
	Licence Licence
}

func (e *LicenceError) Error() string {
	return fmt.Sprintf("%s is under the %s (%s), which must be accepted first. %s", e.Model, e.Licence.Name, e.Licence.URL, e.Licence.Notice)
}

// HashError says that a complete file is not the expected one.
type HashError struct {
	File      string
	Want, Got string // SHA-256, hex
}

func (e *HashError) Error() string {
	return fmt.Sprintf("%s has SHA-256 %s, expected %s", e.File, e.Got, e.Want)
}
