package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"edged/docs"
)

// manCommand writes the manual: a page per command from its own help, and one on
// the configuration from docs/CONFIG.md. Packages are made with it.
func (a *app) manCommand() *cobra.Command {
	return &cobra.Command{
		Use: "man FOLDER", Short: "write the manual pages", Hidden: true,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return writeManual(cmd.Root(), args[0]) },
	}
}

func writeManual(root *cobra.Command, folder string) error {
	root.DisableAutoGenTag = true // a date would make each build another one
	pages, config := filepath.Join(folder, "man1"), filepath.Join(folder, "man5")
	for _, dir := range []string{pages, config} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make manual's folder: %w", err)
		}
	}
	// The date of the pages is that of $SOURCE_DATE_EPOCH, if it is set.
	header := &doc.GenManHeader{Section: "1", Source: "edged", Manual: "edged"}
	if err := doc.GenManTree(root, header, pages); err != nil {
		return fmt.Errorf("write manual: %w", err)
	}
	page := md2man.Render([]byte(configPage(string(docs.Config))))
	if err := os.WriteFile(filepath.Join(config, "edged-config.5"), page, 0o644); err != nil {
		return fmt.Errorf("write manual: %w", err)
	}
	return nil
}
