package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"edged/daemon"
	"edged/infer/eval"
)

const sweepHelp = `Measure several settings of the KV cache and print one table.

A --setting is POLICY or POLICY:BUDGET, such as q8, auto:1024 or auto+q4:512.
Each is compared with the exact cache: over retrieval cases, over a text, or
both. With --svg and --out the table is drawn and written as JSON as well.`

// sweepFlags are what a sweep measures.
type sweepFlags struct {
	e            daemon.Evaluation
	settings     []string
	cases, text  string
	opt          eval.CasesOptions
	from, tokens int
	svg, out     string
}

func (a *app) evalSweepCommand() *cobra.Command {
	v := &sweepFlags{e: daemon.Evaluation{Paths: a.paths}}
	cmd := &cobra.Command{
		Use:     "sweep",
		Short:   "measure several cache settings",
		Long:    sweepHelp,
		Example: "  edged eval sweep --model models/needle-26m-q8_0.gguf --context 8448 --cases cases.jsonl --setting q8,auto:512,auto:1024 --svg sweep.svg",
		Args:    usageArgs(onlyFlags("--model")),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if v.e.Model == "" || len(v.settings) == 0 || v.cases+v.text == "" {
				return usageError{errors.New("name a model with --model, settings with --setting, and --cases or --text")}
			}
			if err := errors.Join(positive(cmd, "context", "limit", "from", "tokens"), v.e.Cache.Check()); err != nil {
				return usageError{err}
			}
			return a.sweep(cmd.Context(), v)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&v.e.Model, "model", "m", "", "GGUF `FILE` or installed model")
	f.StringVar(&v.e.Backend, "backend", "cpu", "cpu, cuda or ref")
	f.IntVar(&v.e.Threads, "threads", 0, "CPU threads (default: as many as this process may use)")
	f.StringSliceVar(&v.settings, "setting", nil, "`POLICY[:BUDGET]`,... to measure")
	f.StringVar(&v.e.Cache.Fast, "fast", "", "`SIZE` of the cache's fast tier for policies that choose: bytes, or a share of an exact cache such as 12.5% (default: no limit)")
	f.IntVar(&v.e.Cache.Context, "context", 0, "tokens of a conversation (default: the model's own)")
	f.StringVar(&v.cases, "cases", "", "`FILE` of retrieval cases")
	f.IntSliceVar(&v.opt.Lengths, "lengths", nil, "only cases of these nominal lengths, in tokens")
	f.IntVar(&v.opt.Limit, "limit", 0, "at most this many cases of each task and length")
	f.StringVar(&v.text, "text", "", "`FILE` of text")
	f.IntVar(&v.from, "from", 1024, "tokens of the text that are read as a prompt")
	f.IntVar(&v.tokens, "tokens", 512, "tokens of the text that are compared")
	f.StringVar(&v.svg, "svg", "", "draw the sweep to this `FILE`")
	f.StringVar(&v.out, "out", "", "write the sweep as JSON to this `FILE`")
	return cmd
}

func (a *app) sweep(ctx context.Context, v *sweepFlags) error {
	s := &eval.Sweep{Model: v.e.Model, Context: v.e.Cache.Context, Date: time.Now().Format(time.DateOnly), Machine: daemon.MachineName()}
	var full *eval.CasesReport
	var cases []eval.Case
	var text []byte
	var err error
	if v.text != "" {
		if text, err = os.ReadFile(v.text); err != nil {
			return fmt.Errorf("read text: %w", err)
		}
	}
	if v.cases != "" {
		if cases, err = eval.ReadCases(v.cases); err != nil {
			return err
		}
		e := v.e
		e.Cache = daemon.Cache{Policy: "full", Context: v.e.Cache.Context}
		if full, err = a.cases(ctx, e, "", cases, v.opt); err != nil {
			return err
		}
	}
	for _, setting := range v.settings {
		row, err := a.sweepRow(ctx, v, setting, full, cases, string(text))
		if err != nil {
			return fmt.Errorf("setting %s: %w", setting, err)
		}
		s.Rows = append(s.Rows, *row)
	}
	return a.writeSweep(s, v)
}

// sweepRow measures one setting.
func (a *app) sweepRow(ctx context.Context, v *sweepFlags, setting string, full *eval.CasesReport, cases []eval.Case, text string) (*eval.SweepRow, error) {
	policy, budget, some := strings.Cut(setting, ":")
	e := v.e
	e.Cache.Policy = policy
	if some {
		n, err := strconv.Atoi(budget)
		if err != nil || n < 1 {
			return nil, usageError{fmt.Errorf("%q is not a number of tokens above 0", budget)}
		}
		e.Cache.Options.Budget = n
	}
	if strings.HasPrefix(policy, "auto") {
		e.Cache.Options.Sparse = true
	} else {
		e.Cache.Fast = ""
	}
	row := &eval.SweepRow{Policy: policy, Setting: budget}
	if !some {
		row.Setting = "default"
	}
	if full != nil {
		report, err := a.cases(ctx, e, "", cases, v.opt)
		if err != nil {
			return nil, err
		}
		paired, err := eval.Compare(full, report)
		if err != nil {
			return nil, err
		}
		row.Retrieval = &paired.Overall
		row.Use(report.Cache)
	}
	if text != "" {
		r, err := e.Text(ctx, text, 1, v.from, v.tokens, nil)
		if err != nil {
			return nil, err
		}
		row.NLL, row.TokPerSec = &r.Divergence, 1/r.OtherSec
		if full == nil {
			row.Use(&r.Cache)
		}
	}
	return row, nil
}

func (a *app) writeSweep(s *eval.Sweep, v *sweepFlags) error {
	if v.out != "" {
		b, err := json.MarshalIndent(s, "", "  ")
		if err != nil {
			return fmt.Errorf("write sweep: %w", err)
		}
		if err := os.WriteFile(v.out, append(b, '\n'), 0o644); err != nil {
			return fmt.Errorf("write sweep: %w", err)
		}
	}
	if v.svg != "" {
		var b bytes.Buffer
		if err := s.WriteSVG(&b); err != nil {
			return err
		}
		if err := os.WriteFile(v.svg, b.Bytes(), 0o644); err != nil {
			return fmt.Errorf("write plot: %w", err)
		}
	}
	return a.printReport(s.WriteTable)
}
