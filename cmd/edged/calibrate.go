package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"edged/daemon"
)

const calibrateHelp = `Find the layers of a model that need all of their tokens, for policy tailorkv.

A layer's score is 1 minus the share of attention that the top 5 % of tokens
hold, for the last 32 tokens of a text (TailorKV, arXiv:2505.19586). Above the
threshold, a layer is better kept whole in few bits than in part. Layers with a
sliding window have no score: they keep only their window.`

func (a *app) calibrateCommand() *cobra.Command {
	var (
		e      = daemon.Evaluation{Paths: a.paths}
		c      daemon.Calibration
		text   string
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:     "calibrate MODEL",
		Short:   "find the layers that need all of their tokens",
		Long:    calibrateHelp,
		Example: "  edged calibrate needle-26m-q8_0 --text book.txt --tokens 8192",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			e.Model = args[0]
			if err := positive(cmd, "tokens"); err != nil {
				return usageError{err}
			}
			if c.Threshold <= 0 || c.Threshold >= 1 {
				return usageError{fmt.Errorf("--threshold is %g, must be between 0 and 1", c.Threshold)}
			}
			if text != "" {
				b, err := os.ReadFile(text)
				if err == nil && len(b) == 0 {
					err = errors.New("the file is empty")
				}
				if err != nil {
					return fmt.Errorf("read --text: %w", err)
				}
				c.Text = string(b)
			}
			line := a.statusLine()
			if line.tty {
				c.Progress = func(done, total int) { line.set(fmt.Sprintf("reading layer %d of %d", done+1, total)) }
			}
			r, err := e.Calibrate(cmd.Context(), c)
			line.clear()
			switch {
			case err != nil:
				return err
			case asJSON:
				return a.printJSON(r)
			}
			return a.printTable(r.WriteTable)
		},
	}
	f := cmd.Flags()
	f.StringVar(&text, "text", "", "plain text `FILE` (default: some built-in prose)")
	f.IntVar(&c.Tokens, "tokens", 0, "tokens of the text, from its begin (default: all, up to 8192)")
	f.Float64Var(&c.Threshold, "threshold", daemon.CalibrationThreshold, "score above which a layer is dense")
	f.StringVar(&e.Backend, "backend", "cpu", "cpu or ref")
	f.IntVar(&e.Threads, "threads", 0, "CPU threads (default: as many as this process may use)")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}
