package catalog

import (
	"fmt"
	"regexp"
	"strconv"
)

// maxSplitParts bounds the files that one set may claim to have.
const maxSplitParts = 1000

var splitForm = regexp.MustCompile(`^(.+)-(\d{5})-of-(\d{5})\.gguf$`)

// splitName is the name of one part of a split GGUF.
type splitName struct {
	stem        string
	part, parts int // part counts from 1
}

// parseSplit reports whether name belongs to a split set.
func parseSplit(name string) (splitName, bool) {
	m := splitForm.FindStringSubmatch(name)
	if m == nil {
		return splitName{}, false
	}
	part, _ := strconv.Atoi(m[2]) // five digits
	parts, _ := strconv.Atoi(m[3])
	return splitName{stem: m[1], part: part, parts: parts}, true
}

func (s splitName) file(part int) string {
	return fmt.Sprintf("%s-%05d-of-%05d.gguf", s.stem, part, s.parts)
}

// setFiles returns the file names of the set that name opens: name alone for a
// file that is not split.
func setFiles(name string) ([]string, error) {
	s, ok := parseSplit(name)
	if !ok {
		return []string{name}, nil
	}
	if s.parts < 1 || s.parts > maxSplitParts {
		return nil, fmt.Errorf("%s: a split set has 1 to %d parts, this one claims %d", name, maxSplitParts, s.parts)
	}
	if s.part != 1 {
		return nil, fmt.Errorf("%s is part %d of a set; name its first part, %s, to pull all %d", name, s.part, s.file(1), s.parts)
	}
	files := make([]string, s.parts)
	for i := range files {
		files[i] = s.file(i + 1)
	}
	return files, nil
}
