package daemon

import (
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time span that is written like "30s" or "1m30s". It is no
// integer type, so that a bare number is refused instead of meaning nanoseconds.
type Duration struct{ time.Duration }

// UnmarshalText parses Go's notation.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as \"30s\" or \"1m30s\"", b)
	}
	d.Duration = v
	return nil
}

// FileMode is the permission bits of a file, written in octal like "0660".
type FileMode struct{ Perm fs.FileMode }

// UnmarshalText parses octal digits.
func (m *FileMode) UnmarshalText(b []byte) error {
	v, err := strconv.ParseUint(string(b), 8, 32)
	if err != nil || v > 0o777 {
		return fmt.Errorf("%q is not a file mode between \"0000\" and \"0777\"", b)
	}
	m.Perm = fs.FileMode(v)
	return nil
}

// String is the notation that UnmarshalText reads.
func (m FileMode) String() string { return fmt.Sprintf("%04o", uint32(m.Perm)) }

// Level is a log level: debug, info, warn or error.
type Level struct{ slog.Level }

// levels are the names that a configuration may use.
var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// UnmarshalText accepts the four names only.
func (l *Level) UnmarshalText(b []byte) error {
	v, ok := levels[string(b)]
	if !ok {
		return fmt.Errorf("%q is not a log level; known: debug, info, warn, error", b)
	}
	l.Level = v
	return nil
}

// Size is a number of bytes, written like "512MiB", "8GiB" or "8589934592".
type Size int64

// sizeUnits has the longest suffixes first.
var sizeUnits = []struct {
	suffix string
	bytes  int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"", 1},
}

// UnmarshalText parses a number with an optional unit.
func (s *Size) UnmarshalText(b []byte) error {
	for _, u := range sizeUnits {
		num, ok := strings.CutSuffix(string(b), u.suffix)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(num), 64)
		if err != nil || v < 0 || v*float64(u.bytes) >= math.MaxInt64 || math.IsNaN(v) {
			break
		}
		if u.bytes == 1 && v != math.Trunc(v) {
			return fmt.Errorf("%q is no whole number of bytes; with a unit it is a size, such as \"%gGiB\"", b, v)
		}
		*s = Size(v * float64(u.bytes))
		return nil
	}
	return fmt.Errorf("%q is not a size such as \"512MiB\", \"8GiB\" or \"8589934592\"", b)
}

// String prints the size with three digits.
func (s Size) String() string { return FormatBytes(int64(s)) }

// Counted is a number of things, such as "1 file" and "2 files".
func Counted(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return strconv.Itoa(n) + " " + unit + "s"
}

// FormatBytes prints a number of bytes with a binary unit, such as "26.7 MiB".
func FormatBytes(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), ""
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB"} {
		v, unit = v/1024, u
		if v < 1024 {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}
