package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"edged/daemon"
)

const doctorHelp = `Look at this machine for what keeps a daemon with this configuration from starting,
or makes it slow: GPU and driver, memory and its limits, huge pages, disk, store,
socket, clock, security modules. Each finding says what to do about it. Nothing
is changed.

Levels are ok, note, warning and problem. With a problem, the status is 8. Run it
as the user of the daemon to see what that user sees:
  sudo -H -u edged edged doctor`

func (a *app) doctorCommand() *cobra.Command {
	var to target
	asJSON := false
	cmd := &cobra.Command{Use: "doctor", Short: "find out what is wrong with this machine", Long: doctorHelp, Args: usageArgs(cobra.NoArgs)}
	src := a.configSource(cmd)
	to.addSocketFlag(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per finding")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		a.settle(src)
		found, ok := daemon.Doctor(cmd.Context(), *src, a.socketOf(to))
		err := a.printFindings(found, asJSON)
		if err == nil && !ok {
			err = daemon.ErrUnwell
		}
		return err
	}
	return cmd
}

func (a *app) printFindings(found []daemon.Finding, asJSON bool) error {
	if asJSON {
		for _, f := range found {
			if err := a.printJSON(f); err != nil {
				return err
			}
		}
		return nil
	}
	return a.printTable(func(w io.Writer) {
		for _, f := range found {
			// An error of several lines stays in its column.
			fmt.Fprintf(w, "%s\t%s\t%s\n", f.Level, f.Check, strings.ReplaceAll(f.Text, "\n", "\n\t\t"))
			if f.Fix != "" {
				fmt.Fprintf(w, "\t\tfix: %s\n", f.Fix)
			}
		}
	})
}
