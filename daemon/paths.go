package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"edged/ipc/client"
)

// Paths are the places that apply when neither the configuration nor a flag
// names one.
type Paths struct {
	Config      string   // configuration file; need not exist
	Socket      string   // where the daemon listens
	Models      string   // folder that models are pulled to
	Sessions    string   // folder of the store
	Credentials string   // folder of the service manager's credentials, "" = none
	Lookup      []string // folders in which a model name is looked up, first match wins
	Sockets     []string // where clients look for a daemon, first match wins
}

const (
	systemHome     = "/var/lib/edged" // of the service's user
	systemConfig   = "/etc/edged/config.toml"
	systemSocket   = "/run/edged/edged.sock"
	systemModels   = "/var/lib/edged/models"
	shippedModels  = "/usr/share/edged/models" // of a package
	systemSessions = "/var/lib/edged/sessions"
	sessionsName   = "sessions"
	socketName     = "edged.sock"
	configName     = "config.toml"
)

// DefaultPaths gives the places of a user's daemon, or of the system's for root and for the
// service's user, who is known by its home. The service manager's directory variables come before both.
func DefaultPaths(getenv func(string) string, uid int) Paths {
	p := Paths{Config: systemConfig, Socket: systemSocket, Models: systemModels, Sessions: systemSessions}
	if uid != 0 && getenv("HOME") != systemHome {
		p = userPaths(getenv, uid)
	}
	clientSocket := p.Socket
	// Each variable may list several folders; the unit's first one is meant.
	if d, _, _ := strings.Cut(getenv("RUNTIME_DIRECTORY"), ":"); d != "" {
		p.Socket = filepath.Join(d, socketName)
	}
	if d, _, _ := strings.Cut(getenv("CONFIGURATION_DIRECTORY"), ":"); d != "" {
		p.Config = filepath.Join(d, configName)
	}
	if d, _, _ := strings.Cut(getenv("STATE_DIRECTORY"), ":"); d != "" {
		p.Models, p.Sessions = filepath.Join(d, "models"), filepath.Join(d, sessionsName)
	}
	p.Credentials = getenv("CREDENTIALS_DIRECTORY")
	p.Lookup = distinct(p.Models, systemModels, shippedModels)
	p.Sockets = distinct(p.Socket, clientSocket, systemSocket)
	return p
}

func userPaths(getenv func(string) string, uid int) Paths {
	home := getenv("HOME")
	under := func(variable, otherwise string) string {
		// The XDG specification says to ignore relative values.
		if d := getenv(variable); filepath.IsAbs(d) {
			return d
		}
		return otherwise
	}
	run := under("XDG_RUNTIME_DIR", fmt.Sprintf("/run/user/%d", uid))
	return Paths{
		Config:   filepath.Join(under("XDG_CONFIG_HOME", filepath.Join(home, ".config")), "edged", configName),
		Socket:   filepath.Join(run, "edged", socketName),
		Models:   filepath.Join(under("XDG_DATA_HOME", filepath.Join(home, ".local", "share")), "edged", "models"),
		Sessions: filepath.Join(under("XDG_STATE_HOME", filepath.Join(home, ".local", "state")), "edged", sessionsName),
	}
}

// ProcessPaths are the DefaultPaths of this process.
func ProcessPaths() Paths { return DefaultPaths(os.Getenv, os.Getuid()) }

// ClientSocket is the socket that a client talks to: the first of p.Sockets that
// exists, or of which this user may not even see whether it does; otherwise the one
// that the user's own daemon would make.
func (p Paths) ClientSocket() string { return client.FirstSocket(p.Sockets...) }

func distinct(paths ...string) []string {
	var out []string
	seen := map[string]bool{}
	for _, p := range paths {
		if !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}
	return out
}
