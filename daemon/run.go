package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"edged/daemon/health"
	"edged/infer"
	"edged/infer/graph"
	"edged/ipc"
	"edged/store"
)

// Options are what Run needs besides the configuration file.
type Options struct {
	Source  Source
	Log     *slog.Logger
	Level   *slog.LevelVar   // of Log; follows log.level
	Signals <-chan os.Signal // SIGTERM and SIGINT end, SIGHUP reloads
	Started time.Time        // of the process, for the time until ready
	Version string           // of the program, as it reports itself
}

// ConfigError is a configuration that a daemon cannot start with. Trying again
// does not help.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ConfigError) Unwrap() error { return e.Err }

// Run serves until a signal, the end of ctx or a failure, and returns after
// everything is closed. It returns nil when it was asked to stop.
func Run(ctx context.Context, opt Options) error {
	doc, cfg, err := opt.Source.read()
	if err != nil {
		return &ConfigError{err}
	}
	opt.Level.Set(cfg.Log.Level.Level)
	if len(cfg.Models) == 0 {
		return opt.Source.Paths.NoModelError()
	}
	host, err := readHostMemory()
	if err != nil {
		return err
	}
	budget, err := hostBudget(cfg.Engine.HostMemory, host)
	if err != nil {
		return err
	}
	group, err := groupID(cfg.Socket.Group)
	if err != nil {
		return err
	}
	tcp, err := cfg.TCP.access(opt.Source.Paths.Credentials)
	if err != nil {
		return err
	}
	limitGoHeap()
	engine, lost, err := startEngine(ctx, EngineConfig(cfg, budget, opt.Log))
	if err != nil {
		return err
	}
	ls, err := listen(cfg.Socket)
	if err == nil {
		ls, err = listenTCP(cfg.TCP, ls)
	}
	if err != nil {
		return errors.Join(err, engine.Close())
	}
	kept, err := openSessions(ctx, cfg.Store, opt.Source.Paths.Credentials)
	if err != nil {
		closeAll(ls)
		return errors.Join(err, engine.Close())
	}
	d := newService(opt, cfg, engine, engine, kept, group)
	d.tcp, d.doc = tcp, doc
	d.lost = lost
	ticks := time.NewTicker(collectEvery)
	defer ticks.Stop()
	stopCollecting := startCollecting(kept, opt.Log, d.health, ticks.C)
	// The store last: the engine saves into it.
	if err = d.run(ctx, ls); !errors.Is(err, graph.ErrLost) {
		err = errors.Join(err, engine.Close())
	}
	stopCollecting()
	return errors.Join(err, closeSessions(kept))
}

// startEngine makes the engine as soon as its device is there, and a channel that is told
// once when that is lost.
func startEngine(ctx context.Context, c infer.Config) (engine *infer.Engine, lost chan error, err error) {
	lost = make(chan error, 1)
	c.Lost = func(err error) { lost <- err }
	err = waitForDevice(ctx, notifier{c.Logger}.waitForDevice, func() (err error) {
		engine, err = infer.New(c)
		return err
	})
	return engine, lost, err
}

// EngineConfig translates the configuration; budget is in bytes.
func EngineConfig(c Config, budget int64, log *slog.Logger) infer.Config {
	e := infer.Config{
		Default: c.Default(), AllowSwitch: c.AllowSwitch,
		Backend: c.Engine.Backend, Threads: c.Engine.Threads,
		ChunkTok: c.Engine.Chunk, MaxSeqs: c.Engine.MaxSequences, MaxQueue: c.Engine.Queue, QueueTimeout: c.Engine.QueueTimeout.Duration,
		CacheTok: c.Engine.CacheTokens, CacheSeqs: c.Engine.CacheSequences,
		HostBytes: budget, DeviceReserve: int64(c.Engine.GPUReserve), LockKV: c.Engine.LockMemory, Checkpoint: c.Store.Checkpoint.Duration, Logger: log,
	}
	for _, m := range c.Models {
		e.Models = append(e.Models, infer.ModelConfig{Name: m.Name, Path: m.Path, Context: m.Context, Policy: m.Policy})
	}
	return e
}

// lifecycle is the part of *infer.Engine that a service drives; the rest is
// behind the adapter.
type lifecycle interface {
	Load(ctx context.Context, model string, progress func(infer.LoadProgress)) error
	Drain(ctx context.Context) error
	Status() infer.Status
	SetMaxQueue(n int)
	Prove(ctx context.Context, age time.Duration) error
	DropIdle()
}

// service is a running daemon. Its fields belong to the goroutine of run.
type service struct {
	opt    Options
	log    *slog.Logger
	cfg    Config
	engine lifecycle
	api    *adapter
	server *ipc.Server
	tcp    *ipc.TCP // nil: nothing is served over TCP
	notify notifier
	health *health.Registry

	current atomic.Pointer[Config] // cfg, for other goroutines
	shown   atomic.Pointer[string] // the status line that was last sent
	ready   bool                   // READY has been sent
	doc     document               // that was last read
	lost    <-chan error           // the engine's device is lost

	stopping atomic.Bool
	resumed  chan time.Duration // [1] the machine slept for so long
}

// newService makes a service; kept is nil when no sessions are, group when no
// group may connect.
func newService(opt Options, cfg Config, engine lifecycle, answers inferEngine, kept *store.Store, group *uint32) *service {
	d := &service{opt: opt, log: opt.Log, cfg: cfg, engine: engine, notify: notifier{opt.Log}, resumed: make(chan time.Duration, 1)}
	d.current.Store(&cfg)
	d.api = newAdapter(answers, cfg.Sampling, kept, opt.Log)
	d.api.quota.limits = func() Store { return d.current.Load().Store }
	d.health = d.api.health
	o := &operator{engine: engine, health: d.health, store: kept, cfg: &d.current, version: opt.Version, started: opt.Started}
	o.metrics = metricsHandler(d.api.meter, o, opt.Log)
	server := serverOptions(opt.Log, cfg, kept, d.api)
	server.Operator, server.AllowedGID = o, group
	d.server = ipc.New(d.api, server)
	return d
}

func serverOptions(log *slog.Logger, cfg Config, kept *store.Store, api *adapter) ipc.Options {
	opt := ipc.Options{Log: log, AllowedUIDs: cfg.Socket.AllowUIDs, KeepAlive: cfg.Socket.KeepAlive.Duration, MaxAnswer: cfg.Engine.RequestTimeout.Duration}
	if kept != nil { // a nil pointer in an interface would not be nil
		opt.Sessions = sessions{kept, &api.turns, &api.quota}
	}
	return opt
}

// run serves on ls, which it closes. /healthz answers at once; the model loads
// meanwhile.
func (d *service) run(ctx context.Context, ls []net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	serveErr := make(chan error, len(ls))
	var serving sync.WaitGroup // ends after stop; until then, a socket file may still be there
	defer serving.Wait()
	for _, l := range ls {
		d.log.Info("listening", "socket", l.Addr().String())
		serving.Go(func() { serveErr <- d.serve(l) })
	}
	loaded := make(chan error, 1)
	go func() { loaded <- d.engine.Load(ctx, "", d.reportLoad()) }()
	changed := d.watchConfig(ctx)
	d.watchSleep(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { d.notify.watchdog(ctx, d.alive(newProgressWatch(d.engine.Status))) })
	ticks := time.NewTicker(vitalsEvery)
	defer ticks.Stop()
	watching.Go(func() { newVitals(d).run(ctx, ticks.C) })
	defer func() { cancel(); watching.Wait() }()

	for {
		select {
		case err := <-loaded:
			if err != nil {
				return errors.Join(fmt.Errorf("start: %w", err), d.stop(ctx, 0))
			}
			d.becomeReady()
		case err := <-d.lost:
			// Sessions are in the store as of their last turns. The supervisor starts
			// a new process.
			return errors.Join(fmt.Errorf("end for a restart: %w", err), d.stop(ctx, 0))
		case err := <-serveErr:
			return errors.Join(err, d.stop(ctx, 0))
		case <-changed:
			d.fileEvent()
		case slept := <-d.resumed:
			if err := d.afterSleep(ctx, slept); err != nil {
				return errors.Join(err, d.stop(ctx, 0))
			}
		case <-ctx.Done():
			return d.stop(context.WithoutCancel(ctx), d.cfg.Stop.Drain.Duration)
		case s := <-d.opt.Signals:
			if s == syscall.SIGHUP {
				d.reload()
				continue
			}
			d.log.Info("stopping", "signal", s.String(), "drain", d.cfg.Stop.Drain.String())
			return d.stop(ctx, d.cfg.Stop.Drain.Duration)
		}
	}
}

// becomeReady tells everybody that a token has really been decoded.
func (d *service) becomeReady() {
	s := d.engine.Status()
	d.ready = true
	d.notify.ready(d.statusText())
	d.log.Info("ready", "model", s.Model, "memory", s.Memory.String(), "after", time.Since(d.opt.Started).Round(time.Millisecond).String())
}

// reportLoad forwards progress about as often as a person can read it.
func (d *service) reportLoad() func(infer.LoadProgress) {
	const every = 200 * time.Millisecond
	var last time.Time
	return func(p infer.LoadProgress) {
		if now := time.Now(); now.Sub(last) >= every {
			last = now
			d.notify.loading(loadText(p))
			d.log.Debug("loading", "model", p.Model, "done", p.Done, "total", p.Total)
		}
	}
}

// errSecondSignal cuts off what still runs.
var errSecondSignal = errors.New("second signal")

// stop lets running answers end for at most drain, then cancels them. A second
// signal cancels them at once.
func (d *service) stop(ctx context.Context, drain time.Duration) error {
	d.stopping.Store(true)
	d.notify.stopping("finishing running answers", drain)
	limited, cancelLimit := context.WithTimeoutCause(ctx, drain, fmt.Errorf("drain limit of %v is over", drain))
	defer cancelLimit()
	ctx, cancel := context.WithCancelCause(limited)
	defer cancel(nil)
	over := make(chan struct{})
	defer close(over)
	go func() {
		for {
			select {
			case s := <-d.opt.Signals:
				if s != syscall.SIGHUP {
					cancel(errSecondSignal)
					return
				}
			case <-over:
				return
			}
		}
	}()
	// The server first: it refuses new requests with the right answer and
	// cancels the old ones when the time is over.
	if err := d.server.Shutdown(ctx); err != nil {
		if ctx.Err() == nil {
			return err
		}
		d.log.Warn("running answers were cut off", "err", err)
	}
	if err := d.engine.Drain(ctx); err != nil {
		d.log.Warn("engine was stopped before it was idle", "err", err)
	}
	d.log.Info("stopped")
	return nil
}
