package main

import (
	"context"
	"fmt"
	"html"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"

	"edged/ipc/webui"
)

const uiHelp = `Show chat and sessions in a browser.

The page is served by this command, on a free port of the loopback address, with
what your user may do at the daemon; the daemon itself has no port. The link
opens the page once, in one tab, and Ctrl-C ends it. Other users of the machine can
reach the port, but not what is behind it.`

func (a *app) uiCommand() *cobra.Command {
	var to target
	var noBrowser bool
	cmd := &cobra.Command{
		Use:     "ui",
		Short:   "show chat and sessions in a browser",
		Long:    uiHelp,
		Example: "  edged ui\n  edged ui --no-browser",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.showPage(cmd.Context(), to, !noBrowser)
		},
	}
	f := cmd.Flags()
	to.addSocketFlag(f)
	f.BoolVar(&noBrowser, "no-browser", false, "print the link, and start no browser")
	return cmd
}

// showPage serves the page until ctx ends.
func (a *app) showPage(ctx context.Context, to target, open bool) error {
	c := a.dial(to)
	defer c.Close()
	if _, err := c.Ready(ctx); err != nil {
		return err // a page without a daemon has nothing to show
	}
	s, err := webui.New(a.socketOf(to), slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return err
	}
	if err := a.print(s.Link() + "\n"); err != nil {
		return err
	}
	fmt.Fprintln(a.err, "The link opens the page once. Ctrl-C ends it.")
	if open && (os.Getenv("DISPLAY") != "" || os.Getenv("WAYLAND_DISPLAY") != "") {
		forget, err := openBrowser(ctx, s.Link())
		if err != nil {
			fmt.Fprintln(a.err, "edged: no browser was started:", err)
		}
		defer forget()
	}
	return s.Serve(ctx)
}

// openBrowser starts the desktop's browser with a file that leads to the link. The
// link itself is not an argument: those are visible to all users of the machine.
func openBrowser(ctx context.Context, link string) (forget func(), err error) {
	dir, err := os.MkdirTemp(os.Getenv("XDG_RUNTIME_DIR"), "edged-ui-")
	if err != nil {
		return func() {}, fmt.Errorf("make a file with the link: %w", err)
	}
	forget = func() { os.RemoveAll(dir) }
	file := filepath.Join(dir, "open.html")
	to := html.EscapeString(link)
	page := `<!doctype html><meta charset="utf-8"><title>edged</title><meta http-equiv="refresh" content="0;url=` + to + `"><a href="` + to + `">edged</a>`
	if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
		return forget, fmt.Errorf("write the file with the link: %w", err)
	}
	cmd := exec.CommandContext(ctx, "xdg-open", file)
	if err := cmd.Start(); err != nil {
		return forget, fmt.Errorf("start the browser: %w", err)
	}
	go cmd.Wait() // how it ends, the user sees
	return forget, nil
}
