package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"edged/daemon"
	"edged/infer/eval"
)

func (a *app) evalCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "eval",
		Short: "measure whether a model computes and answers what it should",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.evalGoldenCommand(), a.evalCasesCommand(), a.evalTextCommand(), a.evalGenerateCommand(), a.evalSweepCommand())
	return cmd
}

const goldenHelp = `Compare logits with those of an independent implementation.

Each FILE holds token sequences and what a float32 implementation computed for
them. The report gives the largest difference of a listed logit, the mean KL
divergence in nats, the share of positions with the same most probable token,
and the mean negative log likelihood beside the golden one. The exit status is 5
when a report misses the bars of the backend.`

func (a *app) evalGoldenCommand() *cobra.Command {
	e := daemon.Evaluation{Paths: a.paths}
	var asJSON bool
	var chunk int
	cmd := &cobra.Command{
		Use:     "golden FILE...",
		Short:   "compare logits with golden vectors",
		Long:    goldenHelp,
		Example: "  edged eval golden golden-needle-26m-q8_0.json --model models/needle-26m-q8_0.gguf --backend ref",
		Args:    usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if chunk < 1 {
				return usageError{fmt.Errorf("--chunk must be at least 1, got %d", chunk)}
			}
			var missed []error
			for _, file := range args {
				miss, err := a.golden(cmd.Context(), e, file, chunk, asJSON)
				if err != nil {
					return err
				}
				missed = append(missed, miss)
			}
			return errors.Join(missed...)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&e.Model, "model", "m", "", "GGUF `FILE` or installed model (default: the installed model of the name in FILE)")
	f.StringVar(&e.Backend, "backend", "cpu", "cpu, cuda or ref")
	f.IntVar(&e.Threads, "threads", 0, "CPU threads (default: as many as this process may use)")
	f.IntVar(&chunk, "chunk", daemon.DefaultConfig().Engine.Chunk, "most tokens of one step; with 1 a GPU computes them as those of an answer")
	f.BoolVar(&asJSON, "json", false, "print one JSON object per file")
	return cmd
}

// golden prints the report of one file; miss says which bars it does not reach.
func (a *app) golden(ctx context.Context, e daemon.Evaluation, file string, chunk int, asJSON bool) (miss, err error) {
	report, bars, err := e.Golden(ctx, file, chunk)
	if err != nil {
		return nil, err
	}
	if miss = report.Check(bars); miss != nil {
		miss = fmt.Errorf("%w: %w", errBelowBar, miss)
	}
	if asJSON {
		return miss, a.printJSON(struct {
			eval.GoldenReport
			Backend string `json:"backend"`
			Pass    bool   `json:"pass"`
		}{report, e.Backend, miss == nil})
	}
	return miss, a.print(fmt.Sprintf("%s\n", report))
}
