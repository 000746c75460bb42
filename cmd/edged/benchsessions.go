package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"edged/daemon"
)

const benchSessionsHelp = `Measure how long it takes to store a session and to come back to it, without a
daemon.

A cache of random keys and values of a model's shape (by default an 8B model's) is
stored and restored; beside each time stands that of a plain write, read or copy
of as many bytes in the same run, and the share of its speed that is reached. A
store of many sessions is opened and listed. With --model, a real session of that
model is resumed by a new engine, and the time to its first token is taken.

Files are written to the folder that $TMPDIR names, about twice the size of the
session, and removed.`

// sessionsRun is what "bench sessions" is asked for.
type sessionsRun struct {
	*app
	bench  daemon.SessionBench
	engine daemon.Evaluation
	depth  int
	asJSON bool
}

func (a *app) benchSessionsCommand() *cobra.Command {
	r := &sessionsRun{app: a, engine: daemon.Evaluation{Paths: a.paths}}
	cmd := &cobra.Command{
		Use:     "sessions",
		Short:   "measure storing and resuming sessions",
		Long:    benchSessionsHelp,
		Example: "  edged bench sessions --tokens 131072\n  edged bench sessions --model smollm2-135m-instruct-q4_1 --depth 8000",
		Args:    usageArgs(onlyFlags("--model")),
		RunE:    func(cmd *cobra.Command, _ []string) error { return r.run(cmd.Context()) },
	}
	f, b := cmd.Flags(), &r.bench
	f.IntVar(&b.Tokens, "tokens", 16384, "tokens of the random session")
	f.IntVar(&b.Layers, "layers", 32, "layers of its model")
	f.IntVar(&b.KVHeads, "kv-heads", 8, "KV heads of a layer")
	f.IntVar(&b.HeadDim, "head-dim", 128, "channels of a KV head")
	f.StringVar(&b.Policy, "policy", "q8", "how its cache is kept: `NAME` of a policy")
	f.BoolVar(&b.Options.Sparse, "sparse", false, "auto: choose tokens though all would fit the fast tier")
	f.StringVar(&b.Options.Elem, "elem", "", "format of records, such as q8 or q6v4 (default: the policy's)")
	f.IntVar(&b.Sessions, "sessions", 10_000, "sessions in the store of many; 0 leaves it out")
	f.StringVarP(&r.engine.Model, "model", "m", "", "GGUF `FILE` or installed model for a real session")
	f.IntVar(&r.depth, "depth", 8000, "tokens of the real session's document")
	f.StringVar(&r.engine.Backend, "backend", "cpu", "cpu, cuda or ref; with cuda the cache lies where a GPU's would")
	f.IntVar(&r.engine.Threads, "threads", 0, "CPU threads (default: as many as this process may use)")
	f.BoolVar(&r.asJSON, "json", false, "print one JSON object")
	return cmd
}

// check refuses numbers that no session has.
func (r *sessionsRun) check() error {
	for _, f := range []struct {
		name         string
		v, low, high int
	}{
		{"layers", r.bench.Layers, 1, 1024}, {"kv-heads", r.bench.KVHeads, 1, 1024}, {"head-dim", r.bench.HeadDim, 16, 1024},
		{"tokens", r.bench.Tokens, 512, 1 << 24}, {"sessions", r.bench.Sessions, 0, 1 << 20}, {"depth", r.depth, 256, 1 << 24},
	} {
		if f.v < f.low || f.v > f.high {
			return usageError{fmt.Errorf("--%s must be between %d and %d, got %d", f.name, f.low, f.high, f.v)}
		}
	}
	return nil
}

func (r *sessionsRun) run(ctx context.Context) error {
	if err := r.check(); err != nil {
		return err
	}
	if r.engine.Model != "" { // before all the rest is measured
		if _, err := r.engine.Paths.ModelFile(r.engine.Model); err != nil {
			return err
		}
	}
	line := r.statusLine()
	r.bench.Progress, r.bench.Backend = line.set, r.engine.Backend
	report := benchSessions{}
	var err error
	if report.Sessions, err = r.bench.Run(ctx); err == nil && r.engine.Model != "" {
		line.set("resuming a session of " + r.engine.Model)
		var resumed daemon.ResumeReport
		resumed, err = r.engine.Resume(ctx, r.depth)
		report.Resume = &resumed
	}
	line.clear()
	if err != nil {
		return err
	}
	if r.asJSON {
		return r.printJSON(report)
	}
	return r.print(report.table())
}

// benchSessions is what the command prints.
type benchSessions struct {
	Sessions daemon.SessionReport `json:"sessions"`
	Resume   *daemon.ResumeReport `json:"resume,omitempty"`
}

func (b benchSessions) table() string {
	var t strings.Builder
	r := b.Sessions
	fmt.Fprintf(&t, "a session of %d tokens, %s: %s (%s as f16)\n", r.Tokens, r.Cache, daemon.FormatBytes(r.Payload), daemon.FormatBytes(r.Exact))
	for _, x := range []struct {
		name string
		r    daemon.Rate
	}{{"store it", r.Write}, {"restore it from the page cache, median", r.FromRAM}, {"restore it from the disk", r.FromDisk}, {"store one more turn of 256 tokens", r.Turn}} {
		fmt.Fprintf(&t, "  %-38s %8.3f s  %6.0f MB/s", x.name, x.r.Seconds, float64(x.r.Bytes)/x.r.Seconds/1e6)
		for i, p := range x.r.Plain {
			fmt.Fprintf(&t, "%s %.2f of %s", []string{" ", ","}[min(i, 1)], x.r.Share(p), p.What)
		}
		t.WriteString("\n")
	}
	fmt.Fprintf(&t, "  %-38s %8.3f ms\n", "the engine waits for a turn's end", 1e3*r.Claim)
	fmt.Fprintf(&t, "  %-38s %8.3f ms\n", "and for a restore, at most", 1e3*r.Wake)
	fmt.Fprintf(&t, "  %-38s %8.3f bytes of files for a byte of it\n", "write amplification", r.Amplify)
	if r.Sessions > 0 {
		fmt.Fprintf(&t, "a store of %d sessions: opened in %.3f s, listed in %.1f ms\n", r.Sessions, r.Open, 1e3*r.List)
	}
	if x := b.Resume; x != nil {
		fmt.Fprintf(&t, "%s, %s: %d tokens read in %.2f s; %d of them restored in %.3f s, first token after %.3f s (%.3f s while they are in memory)\n",
			x.Model, x.Cache, x.Prompt, x.Read, x.Restored, x.Restore, x.First, x.Live)
		fmt.Fprintf(&t, "  %-38s %8.3f ms, %.2f %% of a step of %.1f ms\n", "steps wait for a turn's end at most", 1e3*x.Hold, 100*x.Hold/x.Step, 1e3*x.Step)
	}
	return t.String()
}
