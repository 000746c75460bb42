package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"edged/daemon"
	"edged/ipc/api"
)

const statusHelp = `Show what the daemon does: its state, what is wrong and what can be done about it,
the resident model, requests, memory and stored sessions, all users together.

The status is 0 when the daemon is ready, 1 when it is not, 3 when none answers.`

func (a *app) statusCommand() *cobra.Command {
	var to target
	asJSON := false
	cmd := &cobra.Command{Use: "status", Short: "show what the daemon does", Long: statusHelp, Args: usageArgs(cobra.NoArgs)}
	to.addSocketFlag(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c := a.dial(to)
		defer c.Close()
		s, err := c.Status(cmd.Context())
		if err != nil {
			return err
		}
		if asJSON {
			err = a.printJSON(s)
		} else {
			err = a.printTable(func(w io.Writer) { describeStatus(w, s) })
		}
		if err == nil && s.State != "ready" {
			err = fmt.Errorf("the daemon is not ready: %s", s.State)
		}
		return err
	}
	return cmd
}

func describeStatus(w io.Writer, s api.Status) {
	fmt.Fprintf(w, "state\t%s: %s\n", s.State, s.Text)
	for _, c := range s.Conditions {
		fmt.Fprintf(w, "%s\t%s: %s (since %s)\n\tfix: %s\n", c.Severity, c.Title, c.Text, time.Unix(c.Since, 0).Format(time.DateTime), c.Remedy)
	}
	fmt.Fprintf(w, "daemon\tedged %s, process %d, up %v, backend %s\n", s.Version, s.PID, seconds(s.UptimeSeconds), s.Backend)
	if m := s.Model; m != nil {
		fmt.Fprintf(w, "cache\t%s, %d of %d tokens free, %s kept\n", m.Cache, m.FreeTokens, m.CacheTokens, daemon.Counted(m.IdleKept, "idle conversation"))
	}
	fmt.Fprintf(w, "requests\t%d running, %d of %d waiting\n", s.Requests.Running, s.Requests.Queued, s.Requests.MaxQueued)
	fmt.Fprintf(w, "tokens\t%d read, %d generated since the start\n", s.Tokens.Read, s.Tokens.Generated)
	if l := s.LastStep; l != nil {
		fmt.Fprintf(w, "last step\t%v ago, took %v\n", seconds(l.AgeSeconds), time.Duration(l.Seconds*1e9).Round(10*time.Microsecond))
	}
	describeMemory(w, s)
	if st := s.Store; st != nil {
		fmt.Fprintf(w, "store\t%s, %s%s\n", daemon.Counted(st.Sessions, "session"), daemon.FormatBytes(st.DiskBytes), ofBudget(st.Budget))
	}
}

// describeMemory lists what models hold by tier, and what the machine has left.
func describeMemory(w io.Writer, s api.Status) {
	for _, m := range s.Memory {
		fmt.Fprintf(w, "%s memory\t%s: %s\n", m.Tier, m.Purpose, daemon.FormatBytes(m.Bytes))
	}
	pressure := ""
	if p := s.Host.Pressure; p != nil {
		pressure = fmt.Sprintf(", pressure %.0f %%", 100**p)
	}
	fmt.Fprintf(w, "machine\t%s of %s available%s\n", daemon.FormatBytes(s.Host.Available), daemon.FormatBytes(s.Host.Total), pressure)
}

func ofBudget(n int64) string {
	if n == 0 {
		return ""
	}
	return " of " + daemon.FormatBytes(n)
}

func seconds(s float64) time.Duration { return time.Duration(s * 1e9).Round(time.Second) }
