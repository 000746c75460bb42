package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"edged/daemon"
	"edged/infer/bench"
)

const benchHelp = `Measure the speed of a model on this machine, without a daemon.

pp is prompt tokens read per second, tg tokens generated per second with the
given number of tokens (depth) in the KV cache before. Beside each figure stand
the bytes that a token has to read at least, and their share of the memory
bandwidth that was measured in the same run. With --ops, the same is printed
for each op of a step at each depth (cuda alone); --trace FILE writes when each
launch of such a step ran, as it is decoded, in the format that chrome://tracing and
Perfetto show: a span is from the end of the launch in front of it to its own. Stop a running daemon first: two
engines on one processor disturb each other.`

// writeTrace writes a report's steps to a file, where one is named.
func writeTrace(path string, r *bench.Report) error {
	if path == "" {
		return nil
	}
	var b bytes.Buffer
	if err := r.WriteTrace(&b); err != nil {
		return fmt.Errorf("write trace: %w", err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write trace: %w", err)
	}
	return nil
}

// benchRun is what "bench" is asked for.
type benchRun struct {
	*app
	engine          daemon.Evaluation
	conf            bench.Config
	asJSON, goBench bool
	trace           string // a file, or none
}

func (a *app) benchCommand() *cobra.Command {
	b := &benchRun{app: a, engine: daemon.Evaluation{Paths: a.paths}}
	cmd := &cobra.Command{
		Use:     "bench",
		Short:   "measure speed",
		Long:    benchHelp,
		Example: "  edged bench --model models/needle-26m-q8_0.gguf --pp 512,2048 --depth 0,7900 --threads 2",
		Args:    usageArgs(onlyFlags("--model")),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := positive(cmd, "tg", "chunk", "reps"); err != nil {
				return usageError{err}
			}
			return b.run(cmd.Context())
		},
	}
	f, c := cmd.Flags(), &b.conf
	addCacheFlags(f, &b.engine.Cache).parsed(cmd)
	f.StringVarP(&b.engine.Model, "model", "m", "", "GGUF `FILE` or installed model")
	f.StringVar(&b.engine.Backend, "backend", "cpu", "cpu, cuda or ref")
	f.IntVar(&b.engine.Threads, "threads", 0, "CPU threads (default: as many as this process may use)")
	f.IntSliceVar(&c.Prompts, "pp", []int{512}, "prompt lengths, tokens")
	f.IntVar(&c.Gen, "tg", bench.DefaultGen, "tokens to generate at each depth")
	f.IntSliceVar(&c.Depths, "depth", []int{0}, "tokens in the KV cache before generation")
	f.IntVar(&c.ChunkTok, "chunk", bench.DefaultChunkTok, "most prompt tokens of one step")
	f.IntVar(&c.Reps, "reps", bench.DefaultReps, "repetitions of each measurement; the median counts")
	f.BoolVar(&c.Ops, "ops", false, "say too what each op of a step takes, and the bytes that it moves")
	f.StringVar(&b.trace, "trace", "", "write when each launch of a step at each depth ran to a `FILE`")
	f.BoolVar(&b.asJSON, "json", false, "print one JSON object")
	f.BoolVar(&b.goBench, "gobench", false, "print the format that benchstat compares")
	cmd.AddCommand(a.benchSessionsCommand(), a.benchClientsCommand())
	return cmd
}

func (b *benchRun) run(ctx context.Context) error {
	if b.engine.Model == "" {
		return usageError{errors.New("name a model with --model")}
	}
	if b.asJSON && b.goBench {
		return usageError{errors.New("--json and --gobench exclude each other")}
	}
	b.conf.Trace = b.trace != ""
	line := b.statusLine()
	if line.tty {
		b.conf.Progress = func(test string, done, total int) {
			line.set(fmt.Sprintf("measuring %s (%d of %d)", test, done+1, total))
		}
	}
	report, err := b.engine.Bench(ctx, b.conf)
	line.clear()
	if err != nil {
		return err
	}
	if err := writeTrace(b.trace, report); err != nil {
		return err
	}
	switch {
	case b.asJSON:
		return b.printJSON(report)
	case b.goBench:
		return b.printReport(report.WriteGoBench)
	}
	return b.printReport(report.WriteTable)
}
