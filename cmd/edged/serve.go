package main

import (
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"edged/daemon"
)

const serveHelp = `Run the daemon in the foreground, as a service manager wants it.

Without a configuration file, --model names what to serve: a GGUF file, or a
model that "edged models pull" has installed. /healthz answers at once, /readyz
after the model has been loaded and has decoded a token.

SIGHUP reads the configuration again, SIGTERM and SIGINT let running answers end
(stop.drain); a second one ends them at once. Under systemd the daemon reports
readiness, progress and reloads, feeds the watchdog, and takes over a socket.`

func (a *app) serveCommand() *cobra.Command {
	var src daemon.Source
	cmd := &cobra.Command{
		Use:         "serve",
		Short:       "run the daemon",
		Long:        serveHelp,
		Example:     "  edged serve --model models/needle-26m-q8_0.gguf --socket /tmp/edged.sock",
		Args:        usageArgs(onlyFlags("--model")),
		Annotations: map[string]string{ownSignals: "yes"},
	}
	f := cmd.Flags()
	f.StringVar(&src.File, "config", "", "configuration file (default "+a.paths.Config+")")
	f.StringVar(&src.Flags.Socket, "socket", "", "Unix socket to listen on (default "+a.paths.Socket+")")
	f.StringArrayVar(&src.Flags.Models, "model", nil, "GGUF `FILE` or name of an installed model; repeat for several, the first is the default")
	f.StringVar(&src.Flags.Backend, "backend", "", "cpu, cuda or ref (default cpu)")
	f.IntVar(&src.Flags.Threads, "threads", 0, "CPU threads (default: as many as this process may use)")
	f.IntVar(&src.Flags.Context, "context", 0, "most tokens of prompt and answer (default: the model's own length)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		src.Paths, src.Home, src.Required = a.paths, os.Getenv("HOME"), src.File != ""
		if src.File == "" {
			src.File = a.paths.Config
		}
		level := new(slog.LevelVar)
		signals := make(chan os.Signal, 4)
		signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
		return daemon.Run(cmd.Context(), daemon.Options{
			Source: src, Log: daemon.NewLogger(os.Stderr, level), Level: level, Signals: signals, Started: a.started,
			Version: describeBuild().Version,
		})
	}
	return cmd
}
