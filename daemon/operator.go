package daemon

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"edged/daemon/health"
	"edged/infer"
	"edged/ipc"
	"edged/ipc/api"
	"edged/pinnedmem"
	"edged/store"
)

// proofAge is how old the last decode may be when /readyz answers without one.
const proofAge = time.Minute

// operator answers those who watch over the daemon. It may be used from any goroutine.
type operator struct {
	engine  lifecycle
	health  *health.Registry
	store   *store.Store // nil: no sessions are kept
	cfg     *atomic.Pointer[Config]
	version string
	started time.Time
	metrics http.Handler
}

var _ ipc.Operator = (*operator)(nil)

// Prove implements ipc.Operator.
func (o *operator) Prove(ctx context.Context) error { return o.engine.Prove(ctx, proofAge) }

// Conditions implements ipc.Operator.
func (o *operator) Conditions() []api.Condition {
	examine(o.health, o.engine.Status(), *o.cfg.Load())
	found := []api.Condition{} // not null in JSON
	for _, f := range o.health.Findings() {
		found = append(found, api.Condition{
			Code: f.Code, Severity: f.Severity.String(), Title: f.Title, Text: f.Text, Since: f.Since.Unix(), Remedy: f.Remedy,
		})
	}
	return found
}

// Metrics implements ipc.Operator.
func (o *operator) Metrics() http.Handler { return o.metrics }

// Status implements ipc.Operator. The server adds the state.
func (o *operator) Status(context.Context) (api.Status, error) {
	s, cfg := o.engine.Status(), o.cfg.Load()
	out := api.Status{
		Version: o.version, PID: os.Getpid(), UptimeSeconds: time.Since(o.started).Seconds(), Backend: cfg.Engine.Backend,
		Conditions: o.Conditions(),
		Requests:   api.RequestStatus{Running: s.Running, Queued: s.Queued, MaxQueued: cfg.Engine.Queue},
		Tokens:     api.TokenCounts{Read: s.ReadTok, Generated: s.GeneratedTok, Narrowed: s.NarrowedTok},
		Memory:     memoryUse(s),
	}
	if s.Model != "" {
		out.Model = &api.LoadedModel{
			ID: s.Model, Context: s.Context, TrainContext: s.TrainContext,
			Cache: s.Cache, CacheTokens: s.CacheTok, FreeTokens: s.FreeTok, IdleKept: s.KeptSeqs,
		}
	}
	if !s.LastStep.IsZero() {
		out.LastStep = &api.StepStatus{AgeSeconds: time.Since(s.LastStep).Seconds(), Seconds: s.LastStepTime.Seconds()}
	}
	host, err := readHostMemory()
	if err != nil {
		return out, err
	}
	out.Host = api.HostStatus{Total: host.Total, Available: host.Available}
	if p, ok, err := readPressure(pressureFile); err != nil {
		return out, err
	} else if ok {
		out.Host.Pressure = &p
	}
	if o.store != nil {
		st, err := o.store.Stat()
		if err != nil {
			return out, fmt.Errorf("describe daemon: %w", err)
		}
		out.Store = &api.StoreStatus{Sessions: st.Sessions, DiskBytes: st.ChunkDisk + st.IndexDisk, Budget: st.Budget}
	}
	return out, nil
}

// memoryUse lists what is held, by tier and purpose.
func memoryUse(s infer.Status) []api.MemoryUse {
	out := []api.MemoryUse{}
	add := func(tier string, p int, bytes int64) {
		if bytes > 0 {
			out = append(out, api.MemoryUse{Tier: tier, Purpose: pinnedmem.Purpose(p).String(), Bytes: bytes})
		}
	}
	for p, bytes := range s.FastMemory {
		add("device", p, bytes)
	}
	for p, bytes := range s.Memory {
		add("host", p, bytes-s.FastMemory[p])
	}
	return out
}
