package gguf

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Stamp tells what the model file at path is from what it was: size, time of the last
// write and identity of each part. It says nothing about what is in it, reads nothing, and
// takes a file that is not there for one more thing that it can be.
func Stamp(path string) string {
	var s strings.Builder
	for _, p := range parts(path) {
		var st unix.Stat_t
		if err := unix.Stat(p, &st); err != nil {
			fmt.Fprintf(&s, "%v\n", err)
			continue
		}
		fmt.Fprintf(&s, "%d:%d %d %d\n", st.Dev, st.Ino, st.Size, st.Mtim.Nano())
	}
	return s.String()
}

// maxStampParts bounds what a file's name makes Stamp look for. The largest models
// that are offered have some 200 parts.
const maxStampParts = 1024

// parts are the files that belong to a path, by its name.
func parts(path string) []string {
	m := splitName.FindStringSubmatch(path)
	if m == nil {
		return []string{path}
	}
	n, err := strconv.ParseUint(m[3], 10, 64)
	if err != nil || n > maxStampParts {
		return []string{path}
	}
	var all []string
	for i := range n {
		all = append(all, partName(m[1], i, n))
	}
	return all
}
