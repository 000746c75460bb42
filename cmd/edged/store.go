package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"edged/daemon"
)

const storeHelp = `Look at the folder of sessions, and clean it, while no daemon runs.

The folder is the one that the configuration file names (store.dir), and is used by
one process at a time: with a running daemon, these commands end with status 7.`

func (a *app) storeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "check and clean the folder of sessions",
		Long:  storeHelp,
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.storeCheckCommand(), a.storeGCCommand(), a.storeStatCommand())
	return cmd
}

// storeTool is a command on the folder of sessions.
func (a *app) storeTool(cmd *cobra.Command, run func(context.Context, *daemon.StoreTool, bool) error) *cobra.Command {
	src := daemon.Source{Paths: a.paths, Home: os.Getenv("HOME")}
	asJSON := false
	cmd.Args = usageArgs(cobra.NoArgs)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if src.Required = src.File != ""; !src.Required {
			src.File = a.paths.Config
		}
		t, err := daemon.OpenStore(cmd.Context(), src)
		if err != nil {
			return err
		}
		return errors.Join(run(cmd.Context(), t, asJSON), t.Close())
	}
	cmd.Flags().StringVar(&src.File, "config", "", "configuration file (default "+a.paths.Config+")")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

const checkHelp = `Compare everything that is stored twice: counts with what they count, blocks with
the tokens that they are for, entries with files. --payload reads every file to
its end. Nothing is changed.

Files that nothing refers to are reported, but are no damage: a crash leaves them,
and "edged store gc" removes them. It leaves files of another store ("foreign"), for
which the wrong index.db may lie in the folder. With damage, the status is 6. Text of a damaged
session can still be read ("edged sessions show"), or is named as lost.`

func (a *app) storeCheckCommand() *cobra.Command {
	payload := false
	cmd := a.storeTool(&cobra.Command{
		Use:   "check",
		Short: "look for damage",
		Long:  checkHelp,
	}, func(ctx context.Context, t *daemon.StoreTool, asJSON bool) error {
		c, err := t.Check(ctx, payload)
		if err != nil {
			return err
		}
		if asJSON {
			err = a.printJSON(c)
		} else {
			err = a.printTable(func(w io.Writer) { describeCheck(w, c) })
		}
		if err == nil && c.Damaged > 0 {
			err = fmt.Errorf("%w: %s", daemon.ErrStoreDamaged, daemon.Counted(c.Damaged, "problem"))
		}
		return err
	})
	cmd.Flags().BoolVar(&payload, "payload", false, "read every file as a whole")
	return cmd
}

func describeCheck(w io.Writer, c daemon.StoreCheck) {
	for _, p := range c.Problems {
		fmt.Fprintf(w, "%s\t%s\t%s\n", p.Fault, p.Where, p.Detail)
	}
	harmless := len(c.Problems) - c.Damaged
	fmt.Fprintf(w, "%s and %s looked at, %s read: ", daemon.Counted(c.Sessions, "session"), daemon.Counted(c.Chunks, "file"), daemon.FormatBytes(c.Bytes))
	fmt.Fprintf(w, "%s, %s that nothing refers to\n", daemon.Counted(c.Damaged, "problem"), daemon.Counted(harmless, "file"))
}

func (a *app) storeGCCommand() *cobra.Command {
	return a.storeTool(&cobra.Command{
		Use:   "gc",
		Short: "remove what nothing refers to",
		Long: "Remove files that nothing refers to, and rewrite those of which most is not\n" +
			"used any more or that are small. Needs up to 64 MiB beside the budget.",
	}, func(ctx context.Context, t *daemon.StoreTool, asJSON bool) error {
		c, err := t.GC(ctx)
		if err != nil {
			return err
		}
		if asJSON {
			return a.printJSON(c)
		}
		return a.print(describeCollected(c))
	})
}

func describeCollected(c daemon.StoreCollected) string {
	text := fmt.Sprintf("%s that nothing referred to removed (%s), %s rewritten (%s to %s)",
		daemon.Counted(c.Orphans, "file"), daemon.FormatBytes(c.OrphanBytes), daemon.Counted(c.Rewritten, "file"), daemon.FormatBytes(c.Freed), daemon.FormatBytes(c.Written))
	if c.Foreign > 0 {
		text += fmt.Sprintf("; %s of another store left (%s)", daemon.Counted(c.Foreign, "file"), daemon.FormatBytes(c.ForeignBytes))
	}
	return text + "\n"
}

func (a *app) storeStatCommand() *cobra.Command {
	return a.storeTool(&cobra.Command{
		Use:   "stat",
		Short: "say what is stored, and what it takes",
	}, func(_ context.Context, t *daemon.StoreTool, asJSON bool) error {
		s, err := t.Stat()
		if err != nil {
			return err
		}
		if asJSON {
			return a.printJSON(s)
		}
		return a.printTable(func(w io.Writer) { describeStats(w, s) })
	})
}

func describeStats(w io.Writer, s daemon.StoreStats) {
	budget := "no limit"
	if s.Budget > 0 {
		budget = daemon.FormatBytes(s.Budget)
	}
	fmt.Fprintf(w, "sessions\t%d\nmessages\t%d\nblocks\t%d\n", s.Sessions, s.Messages, s.Blocks)
	fmt.Fprintf(w, "payload\t%s, shared parts once\n", daemon.FormatBytes(s.Payload))
	fmt.Fprintf(w, "files\t%d of %s, at most %s\n", s.Chunks, daemon.FormatBytes(s.ChunkDisk), budget)
	fmt.Fprintf(w, "database\t%s\n", daemon.FormatBytes(s.IndexDisk))
}
