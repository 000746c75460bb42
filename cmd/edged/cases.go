package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"edged/daemon"
	"edged/infer/eval"
	"edged/ipc/api"
	"edged/ipc/client"
)

const casesHelp = `Run retrieval cases and print the score of each task and length.

FILE has one JSON case per line and may be gzipped. The cases go through the
daemon, or with --model through an engine of this process with the same
defaults. A turn's score is the share of expected values that the answer
contains. The exit status is 5 when a task scores below its --min.`

func (a *app) evalCasesCommand() *cobra.Command {
	var (
		e      = daemon.Evaluation{Paths: a.paths}
		socket string
		mins   string
		paired bool
		opt    eval.CasesOptions
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:     "cases FILE",
		Short:   "run retrieval cases",
		Long:    casesHelp,
		Example: "  edged eval cases cases.jsonl.gz --tasks number,uuid --min number=1,uuid-8192=0.95",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if paired && e.Model == "" {
				return usageError{errors.New("--against-full needs --model")}
			}
			if e.Model != "" && socket != "" {
				return usageError{errors.New("--model and --socket exclude each other")}
			}
			var least []eval.MinScore
			if mins != "" {
				var err error
				if least, err = eval.ParseMinScores(mins); err != nil {
					return usageError{err}
				}
			}
			cases, err := eval.ReadCases(args[0])
			if err != nil {
				return err
			}
			m := a.meter("answering:", turns)
			opt.Progress = func(done, total int) { m.update(int64(done), int64(total), "") }
			report, err := a.cases(cmd.Context(), e, socket, cases, opt)
			m.clear()
			if err != nil {
				return err
			}
			report.File = args[0]
			var full *eval.Paired
			if paired {
				if full, err = a.againstFull(cmd.Context(), e, cases, opt, report); err != nil {
					return err
				}
			}
			if err := a.printCases(casesOutput{report, full}, asJSON); err != nil {
				return err
			}
			if miss := report.Check(least); miss != nil {
				return fmt.Errorf("%w: %w", errBelowBar, miss)
			}
			return nil
		},
	}
	f := cmd.Flags()
	cache := addCacheFlags(f, &e.Cache)
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if err := cache.parse(); err != nil {
			return usageError{err}
		}
		return nil
	}
	f.StringVarP(&e.Model, "model", "m", "", "GGUF `FILE` or installed model, for an engine of this process (default: ask the daemon)")
	f.IntVar(&e.Cache.Context, "context", 0, "with --model: tokens of a conversation (default: the model's own)")
	f.StringVar(&e.Backend, "backend", "cpu", "with --model: cpu, cuda or ref")
	f.IntVar(&e.Threads, "threads", 0, "with --model: CPU threads (default: as many as this process may use)")
	f.StringVar(&socket, "socket", "", "the daemon's Unix socket (default: as for \"edged run\")")
	f.BoolVar(&paired, "against-full", false, "with --model: run the exact cache too and compare turn by turn")
	f.StringVar(&mins, "min", "", "least scores, as `TASK=SCORE,TASK-LENGTH=SCORE,...`")
	f.StringSliceVar(&opt.Tasks, "tasks", nil, "only these tasks")
	f.IntSliceVar(&opt.Lengths, "lengths", nil, "only these nominal lengths, in tokens")
	f.IntVar(&opt.Limit, "limit", 0, "at most this many cases of each task and length")
	f.BoolVar(&asJSON, "json", false, "print one JSON object with every answer")
	return cmd
}

func turns(n int64) string { return fmt.Sprintf("%d turns", n) }

// cases runs on an engine of this process, or on the daemon.
func (a *app) cases(ctx context.Context, e daemon.Evaluation, socket string, cases []eval.Case, opt eval.CasesOptions) (report *eval.CasesReport, err error) {
	if e.Model != "" {
		engine, err := e.Engine(ctx)
		if err != nil {
			return nil, err
		}
		report, err = eval.Cases(ctx, eval.EngineAnswerer{Engine: engine}, cases, opt)
		if err == nil {
			report.Cache = eval.CacheUseOf(engine.Status())
		}
		if closeErr := engine.Close(); err == nil && closeErr != nil {
			return nil, closeErr
		}
		if err != nil {
			return nil, err
		}
		report.Model = e.Model
		return report, nil
	}
	c, err := a.connect(ctx, target{socket: socket})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	asked := &daemonAnswerer{client: c}
	if report, err = eval.Cases(ctx, asked, cases, opt); err != nil {
		return nil, err
	}
	report.Model = asked.model
	return report, nil
}

// daemonAnswerer answers through the daemon.
type daemonAnswerer struct {
	client *client.Client
	model  string // as the last answer named it
}

// Answer implements eval.Answerer.
func (d *daemonAnswerer) Answer(ctx context.Context, messages []eval.Message, maxTok int) (string, error) {
	greedy, off := 0.0, 1.0
	req := api.ChatRequest{Options: api.Options{Temperature: &greedy, RepeatPenalty: &off, MaxTokens: &maxTok}}
	for _, m := range messages {
		req.Messages = append(req.Messages, api.Message{Role: m.Role, Content: m.Content})
	}
	ans, err := d.client.Chat(ctx, req, nil)
	d.model = ans.Model
	return ans.Text, err
}

// againstFull runs the cases with the exact cache and compares.
func (a *app) againstFull(ctx context.Context, e daemon.Evaluation, cases []eval.Case, opt eval.CasesOptions, report *eval.CasesReport) (*eval.Paired, error) {
	e.Cache = daemon.Cache{Policy: "full", Context: e.Cache.Context}
	full, err := a.cases(ctx, e, "", cases, opt)
	if err != nil {
		return nil, err
	}
	return eval.Compare(full, report)
}

// casesOutput is what the command prints.
type casesOutput struct {
	*eval.CasesReport
	AgainstFull *eval.Paired `json:"against_full,omitempty"`
}

func (a *app) printCases(o casesOutput, asJSON bool) error {
	if asJSON {
		return a.printJSON(o)
	}
	if err := a.printReport(o.WriteTable); err != nil || o.AgainstFull == nil {
		return err
	}
	return a.printReport(o.AgainstFull.WriteTable)
}

// printReport prints what write makes, whole or not at all.
func (a *app) printReport(write func(io.Writer) error) error {
	var b strings.Builder
	if err := write(&b); err != nil {
		return err
	}
	return a.print(b.String())
}
