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

// casesRun is what "eval cases" is asked for.
type casesRun struct {
	*app
	engine daemon.Evaluation
	socket string
	mins   string
	paired bool
	opt    eval.CasesOptions
	asJSON bool
}

func (a *app) evalCasesCommand() *cobra.Command {
	c := &casesRun{app: a, engine: daemon.Evaluation{Paths: a.paths}}
	cmd := &cobra.Command{
		Use:     "cases FILE",
		Short:   "run retrieval cases",
		Long:    casesHelp,
		Example: "  edged eval cases cases.jsonl.gz --tasks number,uuid --min number=1,uuid-8192=0.95",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := positive(cmd, "context", "limit"); err != nil {
				return usageError{err}
			}
			return c.run(cmd.Context(), args[0])
		},
	}
	f := cmd.Flags()
	addCacheFlags(f, &c.engine.Cache).parsed(cmd)
	f.StringVarP(&c.engine.Model, "model", "m", "", "GGUF `FILE` or installed model, for an engine of this process (default: ask the daemon)")
	f.IntVar(&c.engine.Cache.Context, "context", 0, "with --model: tokens of a conversation (default: the model's own)")
	f.StringVar(&c.engine.Backend, "backend", "cpu", "with --model: cpu, cuda or ref")
	f.IntVar(&c.engine.Threads, "threads", 0, "with --model: CPU threads (default: as many as this process may use)")
	f.StringVar(&c.socket, "socket", "", "the daemon's Unix socket (default: as for \"edged run\")")
	f.BoolVar(&c.paired, "against-full", false, "with --model: run the exact cache too and compare turn by turn")
	f.StringVar(&c.mins, "min", "", "least scores, as `TASK=SCORE,TASK-LENGTH=SCORE,...`")
	f.StringSliceVar(&c.opt.Tasks, "tasks", nil, "only these tasks")
	f.IntSliceVar(&c.opt.Lengths, "lengths", nil, "only these nominal lengths, in tokens")
	f.IntVar(&c.opt.Limit, "limit", 0, "at most this many cases of each task and length")
	f.BoolVar(&c.asJSON, "json", false, "print one JSON object with every answer")
	return cmd
}

// least are the scores that tasks must reach.
func (c *casesRun) least() ([]eval.MinScore, error) {
	switch {
	case c.paired && c.engine.Model == "":
		return nil, usageError{errors.New("--against-full needs --model")}
	case c.engine.Model != "" && c.socket != "":
		return nil, usageError{errors.New("--model and --socket exclude each other")}
	case c.mins == "":
		return nil, nil
	}
	least, err := eval.ParseMinScores(c.mins)
	if err != nil {
		return nil, usageError{err}
	}
	return least, nil
}

func (c *casesRun) run(ctx context.Context, file string) error {
	least, err := c.least()
	if err != nil {
		return err
	}
	cases, err := eval.ReadCases(file)
	if err != nil {
		return err
	}
	m := c.meter("answering:", turns)
	c.opt.Progress = func(done, total int) { m.update(int64(done), int64(total), "") }
	report, err := c.cases(ctx, c.engine, c.socket, cases, c.opt)
	m.clear()
	if err != nil {
		return err
	}
	report.File = file
	out := casesOutput{CasesReport: report}
	if c.paired {
		if out.AgainstFull, err = c.againstFull(ctx, c.engine, cases, c.opt, report); err != nil {
			return err
		}
	}
	if err := c.printCases(out, c.asJSON); err != nil {
		return err
	}
	if miss := report.Check(least); miss != nil {
		return fmt.Errorf("%w: %w", errBelowBar, miss)
	}
	return nil
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
