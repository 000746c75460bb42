package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"edged/daemon"
)

const benchClientsHelp = `Measure what several clients get at a time, through a socket, without a daemon.

As many answers as the most clients are asked for at temperature 0, by one client
in turn, then by several at a time. The engine runs as many sequences at once as
there are clients. Every number of clients is measured --reps times, and the
answers have to be the same however many ask: what the engine computes together,
it must compute as if alone.`

func (a *app) benchClientsCommand() *cobra.Command {
	b := daemon.ClientBench{Evaluation: daemon.Evaluation{Paths: a.paths}}
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "clients",
		Short:   "measure several clients at a time",
		Long:    benchClientsHelp,
		Example: "  edged bench clients --model smollm2-135m-instruct-q4_1 --clients 1,8",
		Args:    usageArgs(onlyFlags("--model")),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if b.Model == "" {
				return usageError{errors.New("name a model with --model")}
			}
			for _, n := range append([]int{1}, b.Clients...) {
				if n < 1 || n > 64 || len(b.Clients) == 0 {
					return usageError{fmt.Errorf("--clients must be numbers from 1 to 64, got %v", b.Clients)}
				}
			}
			if b.Reps < 1 || b.Gen < 1 || b.Prompt < 0 {
				return usageError{fmt.Errorf("--reps and --tg must be at least 1 and --pp at least 0, got %d, %d and %d", b.Reps, b.Gen, b.Prompt)}
			}
			line := a.statusLine()
			b.Progress = line.set
			r, err := b.Run(cmd.Context())
			line.clear()
			if err != nil {
				return err
			}
			if asJSON {
				err = a.printJSON(r)
			} else {
				err = a.print(clientTable(r))
			}
			if err == nil && r.Differ > 0 {
				err = fmt.Errorf("%d answers changed with the number of clients", r.Differ)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVarP(&b.Model, "model", "m", "", "GGUF `FILE` or installed model")
	f.StringVar(&b.Backend, "backend", "cpu", "cpu, cuda or ref")
	f.IntVar(&b.Threads, "threads", 0, "CPU threads (default: as many as this process may use)")
	f.IntSliceVar(&b.Clients, "clients", []int{1, 8}, "numbers of clients to compare")
	f.IntVar(&b.Prompt, "pp", 0, "least tokens of a prompt (default: those of a sentence)")
	f.IntVar(&b.Gen, "tg", 128, "most tokens of an answer")
	f.IntVar(&b.Reps, "reps", 5, "repetitions; the median counts")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func clientTable(r daemon.ClientReport) string {
	var t strings.Builder
	fmt.Fprintf(&t, "%s: %d answers, %d tokens, to prompts of up to %d\n", r.Model, r.Answers*len(r.Rows[0].TokPerSec), r.Tokens, r.Prompt)
	for _, row := range r.Rows {
		fmt.Fprintf(&t, "  %3d clients  %8.1f tokens/s  %.2f times the first\n", row.Clients, row.Median, row.Median/r.Rows[0].Median)
	}
	fmt.Fprintf(&t, "  %d answers differ from those of the first\n", r.Differ)
	return t.String()
}
