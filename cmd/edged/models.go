package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"edged/daemon"
	"edged/daemon/catalog"
)

func (a *app) modelsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "models",
		Short: "list, fetch and describe model files",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.modelsListCommand(), a.modelsPullCommand(), a.modelsShowCommand())
	return cmd
}

// modelJSON is one line of `models list --json`.
type modelJSON struct {
	Name        string `json:"name"`
	Installed   bool   `json:"installed"`
	Path        string `json:"path,omitempty"`
	Bytes       int64  `json:"bytes"`
	Licence     string `json:"licence,omitempty"`
	SHA256      string `json:"sha256,omitempty"` // of the catalogue; empty = not known
	Description string `json:"description,omitempty"`
}

func (a *app) modelsListCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list installed models and those of the catalogue",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			list, err := a.listModels()
			if err != nil {
				return err
			}
			if asJSON {
				for _, m := range list {
					if err := a.printJSON(m); err != nil {
						return err
					}
				}
				return nil
			}
			return a.printTable(func(w io.Writer) {
				fmt.Fprintln(w, "NAME\tSIZE\tWHERE\tLICENCE\tDESCRIPTION")
				for _, m := range list {
					where := "can be pulled"
					if m.Installed {
						where = filepath.Dir(m.Path)
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", m.Name, daemon.FormatBytes(m.Bytes), where, m.Licence, m.Description)
				}
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per model")
	return cmd
}

// listModels joins what is installed with what could be. Models that ship with
// the program are listed only where they are installed.
func (a *app) listModels() ([]modelJSON, error) {
	installed, err := a.paths.Installed()
	if err != nil {
		return nil, err
	}
	entries, err := catalog.Entries()
	if err != nil {
		return nil, err
	}
	known := map[string]catalog.Entry{}
	for _, e := range entries {
		known[e.Name] = e
	}
	var list []modelJSON
	for _, m := range installed {
		e := known[m.Name]
		delete(known, m.Name)
		list = append(list, modelJSON{Name: m.Name, Installed: true, Path: m.Path, Bytes: m.Bytes, Licence: e.Licence.Name, Description: e.Description})
	}
	for _, e := range entries {
		if _, left := known[e.Name]; left && e.Bundled == "" {
			list = append(list, modelJSON{Name: e.Name, Bytes: e.Bytes, Licence: e.Licence.Name, SHA256: e.SHA256, Description: e.Description})
		}
	}
	return list, nil
}

// printTable aligns columns that are separated by tabs.
func (a *app) printTable(fill func(io.Writer)) error {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fill(w)
	_ = w.Flush() // a Builder takes everything
	return a.print(b.String())
}

const pullHelp = `Fetch a model into the models folder.

MODEL is a name of the catalogue ("edged models list"), https://..., a file on
the Hugging Face hub as hf:OWNER/REPO/FILE, or a local file. Of a split model,
name any part. Downloads are resumed, verified and put in place in one step.`

func (a *app) modelsPullCommand() *cobra.Command {
	opt := catalog.Options{Dir: a.paths.Models}
	cmd := &cobra.Command{
		Use:     "pull MODEL",
		Short:   "fetch a model",
		Long:    pullHelp,
		Example: "  edged models pull smollm2-135m-instruct-q4_1\n  edged models pull hf:OWNER/REPO/model.gguf --sha256 HEX",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := catalog.ParseRef(args[0])
			if err != nil {
				return usageError{err}
			}
			path, err := a.pull(cmd.Context(), ref, opt)
			if err != nil {
				return err
			}
			return a.print(path + "\n")
		},
	}
	f := cmd.Flags()
	f.StringVar(&opt.Dir, "dir", opt.Dir, "models folder")
	f.StringArrayVar(&opt.SHA256, "sha256", nil, "expected SHA-256 in `HEX`; of a split model once per part, in order")
	f.BoolVar(&opt.AcceptLicence, "accept-licence", false, "you have read and accept the model's licence")
	return cmd
}

// pull shows progress and explains what a caller can do about a refusal.
func (a *app) pull(ctx context.Context, ref catalog.Ref, opt catalog.Options) (string, error) {
	m := a.meter("fetching:", daemon.FormatBytes)
	path, err := catalog.Pull(ctx, ref, opt, func(done, total int64) { m.update(done, total, "") })
	m.clear()
	var licence *catalog.LicenceError
	switch {
	case errors.As(err, &licence):
		return "", fmt.Errorf("%w\nIf you accept it, add --accept-licence", err)
	case errors.Is(err, catalog.ErrExists):
		return "", fmt.Errorf("%w: %s; its SHA-256 is not known, so it is not replaced: remove it first, or give --sha256", err, path)
	}
	return path, err
}

func (a *app) modelsShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show MODEL",
		Short: "describe a model file by its metadata",
		Long:  "Describe an installed model, or any GGUF file, by its metadata.",
		Args:  usageArgs(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := a.paths.ModelFile(args[0])
			if err != nil {
				return err
			}
			info, err := catalog.Show(path)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(showOf(info))
			}
			return a.printTable(func(w io.Writer) { describeModel(w, info) })
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func describeModel(w io.Writer, i catalog.Info) {
	row := func(name string, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	row("file", "%s", i.Path)
	row("size", "%s (%d bytes)", daemon.FormatBytes(i.Bytes), i.Bytes)
	row("name", "%s", i.Name)
	row("licence", "%s", i.Licence)
	row("architecture", "%s, %d layers", i.Architecture, i.Layers)
	row("parameters", "%d in %d tensors", i.Parameters, i.Tensors)
	row("context", "%d tokens, the model's own", i.Context)
	row("tokenizer", "%s %s, %d tokens", i.Tokenizer, i.PreTokenizer, i.Vocabulary)
	template := "none"
	if i.ChatTemplate {
		template = "yes"
	}
	row("chat template", "%s", template)
	for _, s := range i.Quantization {
		row("stored as", "%s: %d tensors, %s", s.Type, s.Tensors, daemon.FormatBytes(s.Bytes))
	}
}

// showJSON is what `models show --json` prints.
type showJSON struct {
	Path         string       `json:"path"`
	Bytes        int64        `json:"bytes"`
	Name         string       `json:"name"`
	Architecture string       `json:"architecture"`
	Licence      string       `json:"licence"`
	Parameters   uint64       `json:"parameters"`
	Context      uint64       `json:"context"`
	Layers       uint64       `json:"layers"`
	Tensors      int          `json:"tensors"`
	Types        []typeShares `json:"types"`
	Tokenizer    string       `json:"tokenizer"`
	PreTokenizer string       `json:"pre_tokenizer"`
	Vocabulary   int          `json:"vocabulary"`
	ChatTemplate bool         `json:"chat_template"`
}

type typeShares struct {
	Type    string `json:"type"`
	Tensors int    `json:"tensors"`
	Bytes   int64  `json:"bytes"`
}

func showOf(i catalog.Info) showJSON {
	s := showJSON{
		Path: i.Path, Bytes: i.Bytes, Name: i.Name, Architecture: i.Architecture, Licence: i.Licence,
		Parameters: i.Parameters, Context: i.Context, Layers: i.Layers, Tensors: i.Tensors,
		Tokenizer: i.Tokenizer, PreTokenizer: i.PreTokenizer, Vocabulary: i.Vocabulary, ChatTemplate: i.ChatTemplate,
	}
	for _, q := range i.Quantization {
		s.Types = append(s.Types, typeShares(q))
	}
	return s
}
