package daemon

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func logLines(t *testing.T, f *os.File) string {
	t.Helper()
	level := new(slog.LevelVar)
	l := NewLogger(f, level)
	l.Debug("unseen")
	level.Set(slog.LevelDebug)
	l.Debug("d")
	l.With("k", 1).WithGroup("g").Info("i", "time", "kept")
	l.Warn("w")
	l.Error("e", "err", errTest)
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLogForTheJournal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	t.Setenv("JOURNAL_STREAM", fmt.Sprintf("%d:%d", st.Dev, st.Ino))
	want := "<7>msg=d\n<6>msg=i k=1 g.time=kept\n<4>msg=w\n<3>msg=e err=\"test failure\"\n"
	if d := cmp.Diff(want, logLines(t, f)); d != "" {
		t.Error(d)
	}
}

// A terminal inside a service inherits the variable, but is not the journal.
func TestLogElsewhere(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	t.Setenv("JOURNAL_STREAM", "1:2")
	got := logLines(t, f)
	if !regexp.MustCompile(`^time=\S+ level=DEBUG msg=d\n`).MatchString(got) || strings.Contains(got, "unseen") {
		t.Errorf("got %q", got)
	}
}
