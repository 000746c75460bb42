package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"edged/daemon"
	"edged/infer/eval"
)

const textHelp = `Compare a cache policy with the exact cache over a text.

The first --from tokens of FILE are read as a prompt; the tokens after them are
given one by one to both caches, as if they had been generated. With --passages
that is done in several places, spread evenly over FILE. Printed are the negative
log likelihood of the text under both, with a confidence interval of the
difference, the KL divergence, and how often both find the same token most
probable. The daemon is not used.`

func (a *app) evalTextCommand() *cobra.Command {
	var (
		e                      = daemon.Evaluation{Paths: a.paths}
		passages, from, tokens int
		asJSON                 bool
	)
	cmd := &cobra.Command{
		Use:     "text FILE",
		Short:   "compare a cache policy with the exact cache over a text",
		Long:    textHelp,
		Example: "  edged eval text book.txt --model smollm2-135m-instruct-q4_1 --policy auto --sparse --from 6000 --tokens 1900\n  edged eval text book.txt --model smollm2-135m-instruct-q4_1 --policy q4 --passages 10 --from 7200 --tokens 256",
		Args:    usageArgs(cobra.ExactArgs(1)),
	}
	f := cmd.Flags()
	f.StringVarP(&e.Model, "model", "m", "", "GGUF `FILE` or installed model")
	f.StringVar(&e.Backend, "backend", "cpu", "cpu, cuda or ref")
	f.IntVar(&e.Threads, "threads", 0, "CPU threads (default: as many as this process may use)")
	f.IntVar(&passages, "passages", 1, "places of the text where this is done")
	f.IntVar(&from, "from", 1024, "tokens that are read as a prompt")
	f.IntVar(&tokens, "tokens", 0, "tokens that are compared (default: to the end of the text or of the model's context)")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	addCacheFlags(f, &e.Cache).parsed(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := positive(cmd, "passages", "from", "tokens"); err != nil {
			return usageError{err}
		}
		if e.Model == "" {
			return usageError{errors.New("name a model with --model")}
		}
		text, err := os.ReadFile(args[0])
		if err != nil {
			return fmt.Errorf("read text: %w", err)
		}
		m := a.meter("comparing:", func(n int64) string { return fmt.Sprintf("%d tokens", n) })
		r, err := e.Text(cmd.Context(), string(text), passages, from, tokens, func(done, total int) { m.update(int64(done), int64(total), "") })
		m.clear()
		switch {
		case err != nil:
			return err
		case asJSON:
			return a.printJSON(r)
		}
		return a.print(r.String())
	}
	return cmd
}

const generateHelp = `Make retrieval cases for "edged eval cases", one JSON object a line.

The same seed gives the same cases on every machine. Lengths are tokens of the
whole conversation, counted with the model's tokenizer.`

func (a *app) evalGenerateCommand() *cobra.Command {
	var (
		e = daemon.Evaluation{Paths: a.paths}
		g daemon.Generation
	)
	cmd := &cobra.Command{
		Use:     "generate",
		Short:   "make retrieval cases",
		Long:    generateHelp,
		Example: "  edged eval generate --model models/needle-26m-q8_0.gguf --lengths 8192 --count 10 --seed 100 >cases.jsonl",
		Args:    usageArgs(onlyFlags("--model")),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := positive(cmd, "count"); err != nil {
				return usageError{err}
			}
			if e.Model == "" {
				return usageError{errors.New("name a model with --model")}
			}
			return e.Generate(g, func(c eval.Case) error {
				b, err := json.Marshal(c)
				if err != nil {
					return err
				}
				return a.print(string(b) + "\n")
			})
		},
	}
	f := cmd.Flags()
	f.StringVarP(&e.Model, "model", "m", "", "GGUF `FILE` or installed model, whose tokens are counted")
	f.StringSliceVar(&g.Tasks, "tasks", nil, "only these tasks (default: all)")
	f.IntSliceVar(&g.Lengths, "lengths", []int{8192}, "lengths, in tokens")
	f.IntVar(&g.Cases, "count", 3, "cases of each task and length")
	f.IntVar(&g.Seed, "seed", 1, "seed of the first case; the others follow")
	return cmd
}
