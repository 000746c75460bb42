package daemon

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// Change compares two configurations. live lists the keys that differ and can
// take effect now, restart those that cannot.
func (c Config) Change(next Config) (live, restart []string) {
	walkKeys(reflect.ValueOf(c), reflect.ValueOf(next), "", false, func(key string, isLive, equal bool) {
		switch {
		case equal:
		case isLive:
			live = append(live, key)
		default:
			restart = append(restart, key)
		}
	})
	return live, restart
}

// WithLive is c with every live key taken from next.
func (c Config) WithLive(next Config) Config {
	copyLive(reflect.ValueOf(&c).Elem(), reflect.ValueOf(next))
	return c
}

// walkKeys visits every leaf of two configurations. The [[model]] list is one
// leaf, because its entries have no identity beyond their place.
func walkKeys(a, b reflect.Value, key string, live bool, visit func(key string, live, equal bool)) {
	if !isTable(a.Type()) {
		visit(key, live, reflect.DeepEqual(a.Interface(), b.Interface()))
		return
	}
	for i := range a.NumField() {
		f := a.Type().Field(i)
		name := f.Tag.Get("toml")
		if key != "" {
			name = key + "." + name
		}
		walkKeys(a.Field(i), b.Field(i), name, f.Tag.Get("reload") == "live", visit)
	}
}

func copyLive(dst, src reflect.Value) {
	for i := range dst.NumField() {
		f := dst.Type().Field(i)
		switch {
		case f.Tag.Get("reload") == "live":
			dst.Field(i).Set(src.Field(i))
		case isTable(f.Type):
			copyLive(dst.Field(i), src.Field(i))
		}
	}
}

// isTable tells a section of the file from a value that happens to be a struct.
func isTable(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !slices.Contains([]reflect.Type{
		reflect.TypeFor[Duration](), reflect.TypeFor[FileMode](), reflect.TypeFor[Level](),
	}, t)
}

// watchConfig returns a channel that receives when the file may have changed, the first
// time for what changed before it was watched. A daemon without a configuration
// folder has nothing to watch.
func (d *service) watchConfig(ctx context.Context) <-chan struct{} {
	changed := make(chan struct{}, 1)
	file := d.opt.Source.File
	if _, err := os.Stat(filepath.Dir(file)); file == "" || err != nil {
		return changed
	}
	err := watchFile(ctx, file, d.log, func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	if err != nil {
		d.health.Set(configUnwatched, err.Error())
	}
	changed <- struct{}{}
	return changed
}

// fileEvent reads the configuration again when the file is not what was read last: one
// change has several events, and SIGHUP may have come first.
func (d *service) fileEvent() {
	if doc, _ := d.opt.Source.document(); doc != d.doc {
		d.reload() // which reports what cannot be read
	}
}

// reload reads the configuration again and applies what can change.
func (d *service) reload() {
	if d.ready {
		d.notify.reloading()
		defer func() { d.notify.ready(d.statusText()) }()
	}
	doc, next, err := d.opt.Source.read()
	d.doc = doc
	if err != nil {
		errs := unjoin(err)
		d.health.Set(configRefused, errs[0].Error())
		for _, e := range errs {
			d.log.Error("configuration refused, the running one stays", "err", e)
		}
		return
	}
	live, restart := d.cfg.Change(next)
	d.cfg = d.cfg.WithLive(next)
	d.applyLive()
	d.health.Clear(configRefused)
	put(d.health, configRestart, strings.Join(restart, ", "))
	d.log.Info("configuration read", "applied", live)
	if len(restart) > 0 {
		d.log.Warn("configuration needs restart", "keys", restart)
	}
}

// applyLive hands every live key of the configuration to those who use it.
// stop.drain is read when it is needed.
func (d *service) applyLive() {
	cfg := d.cfg
	d.current.Store(&cfg)
	d.opt.Level.Set(d.cfg.Log.Level.Level)
	sampling := d.cfg.Sampling // a copy: requests may still hold the last one
	d.api.defaults.Store(&sampling)
	d.server.SetAllowedUIDs(d.cfg.Socket.AllowUIDs)
	d.server.SetKeepAlive(d.cfg.Socket.KeepAlive.Duration)
	d.server.SetMaxAnswer(d.cfg.Engine.RequestTimeout.Duration)
	d.engine.SetMaxQueue(d.cfg.Engine.Queue)
}

// unjoin splits an error of errors.Join.
func unjoin(err error) []error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	return []error{err}
}
