package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"
)

// NewLogger logs to f: with times for people and files, with priorities and
// without times for the journal, which stamps each line itself. level may be
// changed while the logger is in use.
func NewLogger(f *os.File, level slog.Leveler) *slog.Logger {
	if toJournal(f, os.Getenv("JOURNAL_STREAM")) {
		return slog.New(newJournalHandler(f, level))
	}
	return slog.New(slog.NewTextHandler(f, &slog.HandlerOptions{Level: level}))
}

// toJournal says whether f is the stream to the journal that stream, the value
// of $JOURNAL_STREAM, names. Children inherit the variable even when their
// output goes elsewhere, hence the comparison.
func toJournal(f *os.File, stream string) bool {
	if stream == "" {
		return false
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return false
	}
	return stream == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// journalHandler begins each line with the priority in the notation of
// sd-daemon(3). One text handler per priority keeps slog's formatting.
type journalHandler struct{ byPriority [4]slog.Handler }

// priorities are slog's four levels in syslog's numbers: err, warning, info, debug.
var priorities = [4]int{3, 4, 6, 7}

func newJournalHandler(w io.Writer, level slog.Leveler) slog.Handler {
	opt := &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
			return slog.Attr{}
		}
		return a
	}}
	var h journalHandler
	for i, p := range priorities {
		h.byPriority[i] = slog.NewTextHandler(prefixWriter{w, fmt.Sprintf("<%d>", p)}, opt)
	}
	return h
}

func (h journalHandler) pick(l slog.Level) slog.Handler {
	switch {
	case l >= slog.LevelError:
		return h.byPriority[0]
	case l >= slog.LevelWarn:
		return h.byPriority[1]
	case l >= slog.LevelInfo:
		return h.byPriority[2]
	}
	return h.byPriority[3]
}

func (h journalHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return h.pick(l).Enabled(ctx, l)
}

func (h journalHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.pick(r.Level).Handle(ctx, r)
}

func (h journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	for i, b := range h.byPriority {
		h.byPriority[i] = b.WithAttrs(attrs)
	}
	return h
}

func (h journalHandler) WithGroup(name string) slog.Handler {
	for i, b := range h.byPriority {
		h.byPriority[i] = b.WithGroup(name)
	}
	return h
}

// prefixWriter puts prefix before every write, which is one line of a TextHandler.
type prefixWriter struct {
	w      io.Writer
	prefix string
}

func (p prefixWriter) Write(b []byte) (int, error) {
	// One write, so that lines of concurrent records do not mix.
	if _, err := io.WriteString(p.w, p.prefix+string(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}
