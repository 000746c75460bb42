package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"

	"edged/ipc/api"
	"edged/ipc/client"
)

// socketVariable names a socket for every client command.
const socketVariable = "EDGED_SOCKET"

// target is which daemon and which of its models a command talks to.
type target struct {
	socket, model string
}

func (t *target) addFlags(f *pflag.FlagSet) {
	t.addSocketFlag(f)
	f.StringVarP(&t.model, "model", "m", "", "`NAME` of a model that the daemon serves (default: its own default)")
}

func (t *target) addSocketFlag(f *pflag.FlagSet) {
	f.StringVar(&t.socket, "socket", "", "the daemon's Unix socket (default: $"+socketVariable+", then your own daemon's, then the system's)")
}

// socketOf is the socket that a target means.
func (a *app) socketOf(t target) string {
	if t.socket != "" {
		return t.socket
	}
	if path := os.Getenv(socketVariable); path != "" {
		return path
	}
	return a.paths.ClientSocket()
}

// dial returns a client of a daemon that may still load its model.
func (a *app) dial(t target) *client.Client { return client.New(a.socketOf(t)) }

// connect returns a client of a daemon that is ready. While the daemon loads
// its model, it waits and says so.
func (a *app) connect(ctx context.Context, t target) (*client.Client, error) {
	c := a.dial(t)
	const poll = 100 * time.Millisecond
	line := a.statusLine()
	defer line.clear()
	for {
		h, err := c.Ready(ctx)
		if err != nil {
			c.Close()
			return nil, err
		}
		if h.Status != "loading" {
			return c, nil // every other state has its own error for requests
		}
		line.set(h.Text)
		select {
		case <-ctx.Done():
			c.Close()
			return nil, context.Cause(ctx)
		case <-time.After(poll):
		}
	}
}

// sampling are the flags of everything that generates.
type sampling struct {
	temperature, topP, minP float64
	topK, maxTokens         int
	seed                    int64
	stop                    []string
	flags                   *pflag.FlagSet
}

func (s *sampling) addFlags(f *pflag.FlagSet) {
	s.flags = f
	f.Float64VarP(&s.temperature, "temperature", "t", 0, "0 always takes the most probable token (default: the daemon's)")
	f.Float64Var(&s.topP, "top-p", 0, "keep the most probable tokens up to this mass (default: the daemon's)")
	f.IntVar(&s.topK, "top-k", 0, "keep this many of the most probable tokens (default: the daemon's)")
	f.Float64Var(&s.minP, "min-p", 0, "drop tokens below this share of the most probable one (default: the daemon's)")
	f.Int64Var(&s.seed, "seed", 0, "the same seed gives the same text (default: random)")
	f.IntVarP(&s.maxTokens, "max-tokens", "n", 0, "most tokens to generate (default: until the context is full)")
	f.StringArrayVar(&s.stop, "stop", nil, "end before this text; repeat for several")
}

// options holds the flags that were given; the daemon decides the others.
func (s *sampling) options() api.Options {
	o := api.Options{Stop: s.stop}
	set(s.flags, "temperature", &o.Temperature, s.temperature)
	set(s.flags, "top-p", &o.TopP, s.topP)
	set(s.flags, "top-k", &o.TopK, s.topK)
	set(s.flags, "min-p", &o.MinP, s.minP)
	set(s.flags, "seed", &o.Seed, s.seed)
	set(s.flags, "max-tokens", &o.MaxTokens, s.maxTokens)
	return o
}

func set[T any](f *pflag.FlagSet, name string, field **T, value T) {
	if f.Changed(name) {
		*field = &value
	}
}

// describe prints what an answer cost.
func describe(a client.Answer) string {
	t := a.Timings
	restored := ""
	if t.RestoredN > 0 {
		restored = fmt.Sprintf(" (%d restored from disk in %.2f s)", t.RestoredN, t.RestoreMS/1000)
	}
	return fmt.Sprintf("%d prompt tokens, %d of them cached%s, %d read in %.2f s (%.0f tokens/s); %d generated in %.2f s (%.1f tokens/s)",
		a.Usage.PromptTokens, t.CacheN, restored, t.PromptN, t.PromptMS/1000, t.PromptPerSecond, t.PredictedN, t.PredictedMS/1000, t.PredictedPerSecond)
}
