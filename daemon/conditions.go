package daemon

import (
	"fmt"
	"strings"
	"time"

	"edged/daemon/health"
	"edged/infer"
)

// Everything that the daemon notices about itself. docs/CONFIG.md lists them.
var (
	engineFailed = &health.Condition{
		Code: "engine-failed", Severity: health.Error, Title: "the engine does not answer",
		Remedy: "read the log for the cause (journalctl -u edged); restart the daemon when it is mended",
	}
	modelUnloaded = &health.Condition{
		Code: "model-unloaded", Severity: health.Error, Title: "the model cannot be loaded",
		Remedy: "put a good file in the place of the model's: it is loaded within 10 s; what is not the file's fault is tried again for a request 10 s later",
	}
	engineStuck = &health.Condition{
		Code: "engine-stuck", Severity: health.Error, Title: "a step of the engine does not end",
		Remedy: "the service manager restarts the daemon; without one, restart it",
	}
	contextShort = &health.Condition{
		Code: "context-short", Severity: health.Warning, Title: "the context is shorter than the model's own",
		Remedy: "raise what it does not fit (engine.host_memory; LimitMEMLOCK= of the unit, for engine.lock_memory), or set model.policy to one that needs less; `edged plan MODEL` shows what each takes",
	}
	cachePartial = &health.Condition{
		Code: "cache-partial", Severity: health.Info, Title: "only chosen tokens are attended to",
		Remedy: "for a cache that reads every token, set model.context lower or raise engine.host_memory; policy tailorkv never has one",
	}
	configRefused = &health.Condition{
		Code: "config-refused", Severity: health.Warning, Title: "the configuration file has errors, and the running configuration stays",
		Remedy: "`edged config check` names the lines",
	}
	configRestart = &health.Condition{
		Code: "config-restart", Severity: health.Info, Title: "settings wait for a restart",
		Remedy: "when it suits, restart the daemon: systemctl restart edged, or systemctl --user restart edged",
	}
	configUnwatched = &health.Condition{
		Code: "config-unwatched", Severity: health.Warning, Title: "changes of the configuration file are not noticed",
		Remedy: "send SIGHUP after a change (systemctl reload edged, or systemctl --user reload edged); a higher fs.inotify.max_user_instances may help",
	}
	storeDisk = &health.Condition{
		Code: "store-disk", Severity: health.Warning, Title: "the disk of the sessions is nearly full",
		Remedy: "make room, or lower store.budget: sessions then keep their text, and give up what was computed of it",
	}
	storeUnclean = &health.Condition{
		Code: "store-unclean", Severity: health.Warning, Title: "the store could not be cleaned",
		Remedy: "read the log for the cause; `edged store check` looks for damage while the daemon is stopped",
	}
	storeForeign = &health.Condition{
		Code: "store-foreign", Severity: health.Warning, Title: "files of another store lie among the sessions'",
		Remedy: "if sessions are missing, stop the daemon and put the index.db back that belongs to the files; else move them away; `edged store check` names them",
	}
	sessionUnsaved = &health.Condition{
		Code: "session-unsaved", Severity: health.Warning, Title: "the last turn of a session was not stored whole",
		Remedy: "see that the disk has room and can be written; the next turn is stored as usual",
	}
	memoryPressure = &health.Condition{
		Code: "memory-pressure", Severity: health.Warning, Title: "processes wait for memory",
		Remedy: "end something that needs much of it, or lower engine.host_memory; idle conversations have been given up and are read back when they go on",
	}
)

// newHealth makes the registry of all of them.
func newHealth() *health.Registry {
	return health.New(time.Now, engineFailed, modelUnloaded, engineStuck, contextShort, cachePartial, configRefused, configRestart,
		configUnwatched, storeDisk, storeUnclean, storeForeign, sessionUnsaved, memoryPressure)
}

// put sets or clears a condition: an empty text clears it.
func put(r *health.Registry, c *health.Condition, text string) {
	if text == "" {
		r.Clear(c)
		return
	}
	r.Set(c, text)
}

// examine brings the conditions up to date that an engine's status tells.
func examine(r *health.Registry, s infer.Status, cfg Config) {
	failed, unloaded, short, partial := "", "", "", ""
	switch {
	case s.State == infer.Failed && s.Retries:
		unloaded = s.Reason
	case s.State == infer.Failed:
		failed = s.Reason
	}
	if asked := cfg.context(s.Model); s.Model != "" && asked == 0 && s.Context < s.TrainContext {
		short = fmt.Sprintf("%s is served with %d tokens, its own context is %d: its cache does not fit %s", s.Model, s.Context, s.TrainContext, s.Short)
	}
	if strings.HasPrefix(s.Cache, pagedCache) || strings.HasPrefix(s.Cache, gatheredCache) {
		partial = fmt.Sprintf("the cache of %s (%s) attends to chosen tokens", s.Model, s.Cache)
	}
	put(r, engineFailed, failed)
	put(r, modelUnloaded, unloaded)
	put(r, contextShort, short)
	put(r, cachePartial, partial)
}

// pagedCache and gatheredCache begin infer.Status.Cache where tokens are chosen.
const (
	pagedCache    = "paged"
	gatheredCache = "gathered"
)

// context is the context that is configured for a model, 0 for the model's own.
func (c Config) context(model string) int {
	for _, m := range c.Models {
		if m.Name == model {
			return m.Context
		}
	}
	return 0
}

// healthText is the worst finding as one phrase, with the number of others; "" without any
// that matters.
func healthText(found []health.Finding) string {
	n := 0
	for _, f := range found {
		if f.Severity > health.Info {
			n++
		}
	}
	switch n {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("%s: %s", found[0].Severity, found[0].Text)
	}
	return fmt.Sprintf("%s: %s (and %d more)", found[0].Severity, found[0].Text, n-1)
}
