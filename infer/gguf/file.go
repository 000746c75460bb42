package gguf

import (
	"errors"
	"fmt"
	"slices"
)

// File is an open model file, all parts of it.
type File struct {
	keys     []string
	values   map[string]value
	tensors  []Tensor
	byName   map[string]int // index into tensors
	size     int64          // bytes of all parts
	mappings []*mapping     // one per part; none after Parse
}

// Open maps and checks the GGUF file at path. For a split file, path names
// the first part, NAME-00001-of-0000N.gguf, and the others are opened beside
// it. A malformed file gives a *FormatError.
func Open(path string) (*File, error) {
	f, err := openParts(path)
	if err != nil {
		return nil, fmt.Errorf("open model: %w", err)
	}
	return f, nil
}

// Parse is Open over the bytes of one file that is not split. b must not
// change while the File or its tensors are in use.
func Parse(b []byte) (*File, error) {
	p, err := parsePart(b)
	if err != nil {
		return nil, err
	}
	s, err := p.splitInfo()
	if err != nil {
		return nil, err
	}
	if s.count > 1 {
		return nil, fmt.Errorf("gguf: these bytes are part %d of a file split in %d, which can only be opened by path", s.no+1, s.count)
	}
	return newFile([]*part{p})
}

// newFile joins parsed parts; the first one's metadata describes the model.
func newFile(parts []*part) (*File, error) {
	f := &File{
		keys:   parts[0].keys,
		values: parts[0].values,
		byName: make(map[string]int),
	}
	for i, p := range parts {
		f.size += p.size
		for _, t := range p.tensors {
			if _, ok := f.byName[t.Name]; ok {
				return nil, fmt.Errorf("gguf: tensor %q occurs in part %d and in an earlier part", t.Name, i+1)
			}
			f.byName[t.Name] = len(f.tensors)
			f.tensors = append(f.tensors, t)
		}
	}
	return f, nil
}

// Close unmaps the file. The File answers as if empty afterwards; every
// Tensor.Data obtained before is invalid, and reading it faults. A second
// Close does nothing.
func (f *File) Close() error {
	mappings := f.mappings
	*f = File{}
	var errs []error
	for _, m := range mappings {
		errs = append(errs, m.close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("unmap model: %w", err)
	}
	return nil
}

// Size returns the bytes of all parts.
func (f *File) Size() int64 { return f.size }

// Tensor returns the tensor of that name.
func (f *File) Tensor(name string) (Tensor, bool) {
	i, ok := f.byName[name]
	if !ok {
		return Tensor{}, false
	}
	return f.tensors[i], true
}

// Tensors returns all tensors in file order, part after part.
func (f *File) Tensors() []Tensor { return slices.Clone(f.tensors) }
