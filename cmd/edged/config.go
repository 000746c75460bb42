package main

import (
	"os"

	"github.com/spf13/cobra"

	"edged/daemon"
)

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "check and show the configuration",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.configCheckCommand(), a.configShowCommand())
	return cmd
}

// configSource is the configuration of a command with the flag --config.
func (a *app) configSource(cmd *cobra.Command) *daemon.Source {
	src := &daemon.Source{Paths: a.paths, Home: os.Getenv("HOME")}
	cmd.Flags().StringVar(&src.File, "config", "", "configuration file (default "+a.paths.Config+")")
	return src
}

// settle fills in the file that is meant without --config.
func (a *app) settle(src *daemon.Source) {
	if src.Required = src.File != ""; !src.Required {
		src.File = a.paths.Config
	}
}

func (a *app) configCheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "name every error of the configuration file",
		Long: "Read the configuration as \"edged serve\" and a reload do. Every error is one line with\n" +
			"file, line, key, limits and value; the status is then 78.",
		Args: usageArgs(cobra.NoArgs),
	}
	src := a.configSource(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		a.settle(src)
		switch cfg, err := src.Load(); {
		case err != nil:
			return &daemon.ConfigError{Err: err}
		case len(cfg.Models) == 0:
			return a.print(src.File + " can be used; it names no model, so `edged serve` needs --model\n")
		}
		return a.print(src.File + " can be used\n")
	}
	return cmd
}

func (a *app) configShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "print the configuration with defaults and paths filled in",
		Args:  usageArgs(cobra.NoArgs),
	}
	src := a.configSource(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		a.settle(src)
		cfg, err := src.Load()
		if err != nil {
			return &daemon.ConfigError{Err: err}
		}
		text, err := cfg.Show()
		if err != nil {
			return err
		}
		return a.print(text)
	}
	return cmd
}
