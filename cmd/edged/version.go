package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"edged/daemon"
)

// version is set by the linker (see Makefile); without it the module's or the
// commit of the build is reported.
var version string

// versionJSON is what `version --json` prints.
type versionJSON struct {
	Version  string   `json:"version"`
	Commit   string   `json:"commit,omitempty"`
	Modified bool     `json:"modified,omitempty"` // built from a changed work tree
	Go       string   `json:"go"`
	Platform string   `json:"platform"`
	CPU      []string `json:"cpu"` // instruction sets that the kernels can use here
	Backends []string `json:"backends"`
}

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "show version, build and what this processor offers",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			v := describeBuild()
			if asJSON {
				return a.printJSON(v)
			}
			commit := v.Commit
			switch {
			case commit == "":
				commit = "unknown" // built without version control
			case v.Modified:
				commit += " (modified)"
			}
			return a.print(fmt.Sprintf("edged %s\ncommit    %s\nbuilt by  %s for %s\ncpu       %s\nbackends  %s\n",
				v.Version, commit, v.Go, v.Platform, strings.Join(v.CPU, " "), strings.Join(v.Backends, " ")))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func describeBuild() versionJSON {
	v := versionJSON{
		Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		CPU: daemon.CPUFeatures(), Backends: daemon.Backends(),
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if v.Version == "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}
