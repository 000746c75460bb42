package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long a configuration file must stay unchanged before it is
// read: editors write, sync and rename in several steps.
const settle = 100 * time.Millisecond

// watchFile calls changed, from one goroutine, some time after file changes,
// until ctx is done. It watches the folder, because editors replace the file
// by renaming another one over it.
func watchFile(ctx context.Context, file string, log *slog.Logger, changed func()) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch configuration: %w", err)
	}
	if err := w.Add(filepath.Dir(file)); err != nil {
		_ = w.Close() // the error of Add is the one to report
		return fmt.Errorf("watch configuration folder: %w", err)
	}
	go func() {
		defer w.Close()
		quiet := time.NewTimer(settle)
		quiet.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case e := <-w.Events:
				if filepath.Base(e.Name) == filepath.Base(file) && !e.Op.Has(fsnotify.Chmod) {
					quiet.Reset(settle)
				}
			case err := <-w.Errors:
				log.Warn("watch configuration", "err", err)
				quiet.Reset(settle) // events may have been lost
			case <-quiet.C:
				changed()
			}
		}
	}()
	return nil
}
