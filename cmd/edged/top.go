package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"edged/daemon"
	"edged/ipc/api"
)

const topHelp = `Show live what the daemon does: requests, tokens per second, and a map of memory by
tier. Ctrl-C ends it. Where the output is no terminal, there is one line per look.`

func (a *app) topCommand() *cobra.Command {
	var to target
	every, looks := time.Second, 0
	cmd := &cobra.Command{Use: "top", Short: "show live what the daemon does", Long: topHelp, Args: usageArgs(cobra.NoArgs)}
	f := cmd.Flags()
	to.addSocketFlag(f)
	f.DurationVar(&every, "every", every, "time between looks, at least 100ms")
	f.IntVar(&looks, "looks", 0, "end after so many looks (default: at Ctrl-C)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if every < 100*time.Millisecond || looks < 0 {
			return usageError{errors.New("--every must be at least 100ms, --looks must not be negative")}
		}
		err := a.top(cmd.Context(), to, every, looks)
		if errors.Is(err, errInterrupted) {
			return nil // the usual end
		}
		return err
	}
	return cmd
}

func (a *app) top(ctx context.Context, to target, every time.Duration, looks int) error {
	c := a.dial(to)
	defer c.Close()
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last api.Status
	var at time.Time
	for i := 0; ; i++ {
		s, err := c.Status(ctx)
		if err != nil {
			return err
		}
		now := time.Now()
		r := rates{}
		if i > 0 && s.PID == last.PID { // a daemon that was restarted counts anew
			r = rates{per(s.Tokens.Read-last.Tokens.Read, now.Sub(at)), per(s.Tokens.Generated-last.Tokens.Generated, now.Sub(at))}
		}
		last, at = s, now
		if err := a.drawTop(s, r); err != nil {
			return err
		}
		if i+1 == looks {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// rates are tokens per second since the last look.
type rates struct{ read, generated float64 }

func per(n uint64, d time.Duration) float64 { return float64(n) / d.Seconds() }

func (a *app) drawTop(s api.Status, r rates) error {
	if !a.outTTY {
		return a.print(fmt.Sprintf("%s running=%d waiting=%d read/s=%.1f generated/s=%.1f conditions=%d\n",
			s.State, s.Requests.Running, s.Requests.Queued, r.read, r.generated, len(s.Conditions)))
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "tokens/s\t%.1f read, %.1f generated\n", r.read, r.generated)
	describeStatus(w, s)
	_ = w.Flush() // a Builder takes everything
	b.WriteString("\n" + memoryMap(s.Memory))
	// From the top, each line cleared to its end, and what is below as well: the
	// screen does not flicker.
	text := strings.ReplaceAll(printable(b.String()), "\n", "\x1b[K\n")
	_, err := io.WriteString(a.out, "\x1b[H"+text+"\x1b[J")
	return err
}

// mapCells is the width of the memory map.
const mapCells = 60

// memoryMap draws each tier as a bar, with a letter per purpose.
func memoryMap(use []api.MemoryUse) string {
	var b strings.Builder
	for _, tier := range []string{"device", "host"} {
		var total int64
		for _, m := range use {
			if m.Tier == tier {
				total += m.Bytes
			}
		}
		if total == 0 {
			continue
		}
		fmt.Fprintf(&b, "%-6s [", tier)
		var sum int64
		drawn := 0
		var legend []string
		for i, m := range use {
			if m.Tier != tier {
				continue
			}
			sum += m.Bytes
			to := int(sum * mapCells / total)
			letter := string(rune('A' + i%26))
			b.WriteString(strings.Repeat(letter, to-drawn))
			drawn = to
			legend = append(legend, letter+" "+m.Purpose)
		}
		fmt.Fprintf(&b, "] %s\n       %s\n", daemon.FormatBytes(total), strings.Join(legend, ", "))
	}
	return b.String()
}
