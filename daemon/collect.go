package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"edged/daemon/health"
	"edged/store"
)

// collectEvery is how often a daemon cleans its store. Conversations add a small
// file a turn; joined, they are read back in large pieces.
const collectEvery = time.Hour

// startCollecting cleans a store now, for a crash may have left something, and then
// at each tick. stop ends that, and returns when the store is not used any more.
func startCollecting(s *store.Store, log *slog.Logger, h *health.Registry, ticks <-chan time.Time) (stop func()) {
	if s == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			collect(ctx, s, log, h)
			select {
			case <-ticks:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { cancel(); <-ended }
}

// collect cleans once. A failure costs space only, and is tried again.
func collect(ctx context.Context, s *store.Store, log *slog.Logger, h *health.Registry) {
	c, err := s.GC(ctx)
	if ctx.Err() != nil {
		return // the daemon ends
	}
	if err != nil {
		h.Set(storeUnclean, err.Error())
		log.Warn("store could not be cleaned", "err", err)
		return
	}
	h.Clear(storeUnclean)
	reportForeign(c, log, h)
	if c.Orphans > 0 || c.Rewritten > 0 {
		log.Info("store cleaned", "orphans", c.Orphans, "orphan_bytes", c.OrphanBytes, "rewritten", c.Rewritten, "freed", c.Freed, "written", c.Written)
	}
}

// reportForeign tells of files of other stores: the index may be the one that does
// not belong here, and sessions be missing.
func reportForeign(c store.Collected, log *slog.Logger, h *health.Registry) {
	if c.Foreign == 0 {
		h.Clear(storeForeign)
		return
	}
	h.Set(storeForeign, fmt.Sprintf("chunks/ of store.dir holds %s of another store (%s), left alone", Counted(c.Foreign, "file"), FormatBytes(c.ForeignBytes)))
	log.Warn("store has files of another store", "files", c.Foreign, "bytes", c.ForeignBytes)
}
