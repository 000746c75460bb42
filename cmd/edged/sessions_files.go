package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"edged/daemon"
	"edged/ipc/api"
	"edged/ipc/client"
)

const exportHelp = `Write a session to FILE, or to standard output for "-".

The file has the session's text and what is stored of it, so that another daemon
with the same model goes on without reading the text again. It is not encrypted,
even if the daemon's store is: only you can read it (mode 0600).`

func (a *app) sessionsExportCommand() *cobra.Command {
	var force bool
	cmd := a.sessionCommand(&cobra.Command{
		Use:   "export NAME FILE",
		Short: "write a session to a file",
		Long:  exportHelp,
		Args:  cobra.ExactArgs(2),
	}, func(ctx context.Context, c *client.Client, s api.Session, args []string) error {
		if args[0] == "-" {
			if a.outTTY {
				return usageError{errors.New("an export is not for a terminal; give a FILE")}
			}
			_, err := c.ExportSession(ctx, s.ID, a.out)
			return err
		}
		n, err := exportFile(ctx, c, s, args[0], force)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.err, "%s: %s\n", args[0], daemon.FormatBytes(n))
		return nil
	})
	cmd.Flags().BoolVar(&force, "force", false, "replace FILE")
	return cmd
}

// exportFile writes a whole export or none.
func exportFile(ctx context.Context, c *client.Client, s api.Session, path string, force bool) (n int64, err error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) && !force {
		if err != nil {
			return 0, fmt.Errorf("write export: %w", err)
		}
		return 0, fmt.Errorf("write export: %s is there already; --force replaces it", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".edged-export-*") // mode 0600
	if err != nil {
		return 0, fmt.Errorf("write export: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if n, err = c.ExportSession(ctx, s.ID, f); err != nil {
		return n, errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return n, fmt.Errorf("write export: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return n, fmt.Errorf("write export: %w", err)
	}
	return n, nil
}

func (a *app) sessionsImportCommand() *cobra.Command {
	var to target
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "make a session of an export",
		Long: `Make a session of an export, or of standard input for "-", and print its id.` +
			"\nNothing is left behind when the file is not whole.",
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var in io.Reader = a.in
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return fmt.Errorf("read export: %w", err)
				}
				defer f.Close()
				in = f
			}
			c := a.dial(to)
			defer c.Close()
			s, err := c.ImportSession(cmd.Context(), in)
			if err != nil {
				return err
			}
			fmt.Fprintln(a.err, describeSession(s))
			return a.print(s.ID + "\n")
		},
	}
	to.addSocketFlag(cmd.Flags())
	return cmd
}
