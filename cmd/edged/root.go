package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

const rootHelp = `edged keeps a GGUF model resident and answers local clients over a Unix socket,
with an OpenAI-compatible API.

Start the daemon with "edged serve"; "run", "chat", "ask", "sessions", "ui" and
"tokenize" talk to it and never load a model themselves.

Exit status:
  0    success
  1    failure
  2    wrong command line
  3    no daemon answers on the socket
  4    the daemon refused the request (unknown model or session, prompt too long,
       queue full, ...)
  5    eval: below the bar
  6    store: damage was found
  7    store: a daemon has it open
  8    doctor: a problem was found
  78   serve: the configuration cannot be used
  130  interrupted`

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "edged",
		Short:         "a resident language model for this machine",
		Long:          rootHelp,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          usageArgs(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		a.serveCommand(), a.runCommand(), a.chatCommand(), a.askCommand(), a.sessionsCommand(), a.uiCommand(), a.storeCommand(),
		a.tokenizeCommand(), a.modelsCommand(), a.evalCommand(), a.benchCommand(), a.planCommand(), a.calibrateCommand(), a.versionCommand(),
		a.statusCommand(), a.topCommand(), a.doctorCommand(), a.configCommand(), a.manCommand(),
	)
	return root
}

// usageArgs makes a check of the arguments a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// oneText allows one argument at most. A text that a shell has split is the
// usual reason for more.
func oneText(_ *cobra.Command, args []string) error {
	if len(args) > 1 {
		return fmt.Errorf("%d arguments, but the text is one: put it in quotes", len(args))
	}
	return nil
}

// onlyFlags allows no argument; flag is where the first one probably belongs.
func onlyFlags(flag string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("unexpected argument %q; a model is given as %s %s", args[0], flag, args[0])
		}
		return nil
	}
}
