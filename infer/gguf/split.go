package gguf

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
)

// Metadata keys of a split file.
const (
	keySplitNo      = "split.no"            // from 0
	keySplitCount   = "split.count"         // parts
	keySplitTensors = "split.tensors.count" // tensors of all parts
)

// split is a part's place in a split file; count is 0 or 1 when it is whole.
type split struct {
	no, count, tensors uint64
}

func (p *part) splitInfo() (split, error) {
	var s split
	for _, field := range []struct {
		key string
		dst *uint64
	}{{keySplitNo, &s.no}, {keySplitCount, &s.count}, {keySplitTensors, &s.tensors}} {
		v, ok := p.values[field.key]
		if !ok {
			continue
		}
		n, valid := v.uint(0)
		if v.array || !valid {
			return split{}, formatErrorf(v.off, "key %q is not a non-negative integer", field.key)
		}
		*field.dst = n
	}
	if s.count > 0 && s.no >= s.count {
		return split{}, formatErrorf(p.values[keySplitNo].off, "key %q is %d, it must be below %q, %d", keySplitNo, s.no, keySplitCount, s.count)
	}
	return s, nil
}

// splitName matches the field's naming scheme of split files.
var splitName = regexp.MustCompile(`^(.*)-([0-9]{5})-of-([0-9]{5})\.gguf$`)

// partPath returns the path of part no (from 0) beside path, which must be
// named as a part of a file split in count.
func partPath(path string, no, count uint64) (string, error) {
	dir, base := filepath.Split(path)
	m := splitName.FindStringSubmatch(base)
	if m == nil {
		return "", fmt.Errorf("%s: the file says it is split in %d parts, but is not named NAME-00001-of-%05d.gguf", path, count, count)
	}
	if n, err := strconv.ParseUint(m[3], 10, 64); err != nil || n != count {
		return "", fmt.Errorf("%s: named as one of %s parts, but key %q is %d", path, m[3], keySplitCount, count)
	}
	return dir + partName(m[1], no, count), nil
}

// partName is how part no (from 0) of count is named.
func partName(stem string, no, count uint64) string {
	return fmt.Sprintf("%s-%05d-of-%05d.gguf", stem, no+1, count)
}

// openParts maps and parses path and, when it is split, all other parts.
func openParts(path string) (_ *File, err error) {
	var mappings []*mapping
	defer func() {
		if err != nil {
			for _, m := range mappings {
				err = errors.Join(err, m.close())
			}
		}
	}()
	open := func(path string) (*part, split, error) {
		m, err := mapFile(path)
		if err != nil {
			return nil, split{}, err
		}
		mappings = append(mappings, m)
		p, err := parsePart(m.mem)
		if err != nil {
			return nil, split{}, err
		}
		s, err := p.splitInfo()
		return p, s, err
	}

	first, whole, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	parts := []*part{first}
	if whole.count > 1 {
		rest, err := openRest(path, whole, open)
		if err != nil {
			return nil, err
		}
		parts = append(parts, rest...)
	}
	f, err := newFile(parts)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if whole.count > 1 && uint64(len(f.tensors)) != whole.tensors {
		return nil, fmt.Errorf("%s: the %d parts hold %d tensors, but key %q is %d", path, whole.count, len(f.tensors), keySplitTensors, whole.tensors)
	}
	f.mappings = mappings
	return f, nil
}

// openRest opens the parts after the first of a split file.
func openRest(path string, whole split, open func(string) (*part, split, error)) ([]*part, error) {
	firstPath, err := partPath(path, 0, whole.count)
	if err != nil {
		return nil, err
	}
	if whole.no != 0 {
		return nil, fmt.Errorf("%s: part %d of %d; open the first part, %s", path, whole.no+1, whole.count, firstPath)
	}
	if firstPath != path {
		return nil, fmt.Errorf("%s: key %q is 0, so this is the first part and must be named %s", path, keySplitNo, firstPath)
	}
	var parts []*part
	for no := uint64(1); no < whole.count; no++ {
		name, err := partPath(path, no, whole.count)
		if err != nil {
			return nil, err
		}
		p, s, err := open(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("part %d of %d is missing: %w", no+1, whole.count, err)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if s.no != no || s.count != whole.count {
			return nil, fmt.Errorf("%s: holds part %d of %d, expected part %d of %d", name, s.no+1, s.count, no+1, whole.count)
		}
		parts = append(parts, p)
	}
	return parts, nil
}
