package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"edged/ipc/api"
)

// tokenJSON is one line of `tokenize --json`. Piece is null when the token is
// not UTF-8 by itself; Bytes always says what it is.
type tokenJSON struct {
	ID    int32   `json:"id"`
	Piece *string `json:"piece"`
	Bytes []int   `json:"bytes"`
}

func (a *app) tokenizeCommand() *cobra.Command {
	var (
		to                   target
		bos, special, asJSON bool
		countOnly            bool
	)
	cmd := &cobra.Command{
		Use:   "tokenize [TEXT]",
		Short: "show the tokens of a text",
		Long:  "Print the id and the quoted piece of each token of TEXT, or of standard input when\nthere is no argument or it is \"-\".",
		Args:  usageArgs(oneText),
		RunE: func(cmd *cobra.Command, args []string) error {
			text := ""
			if len(args) == 1 && args[0] != "-" {
				text = args[0]
				if at := invalidUTF8([]byte(text)); at >= 0 {
					return usageError{fmt.Errorf("the text is not UTF-8: bad byte 0x%02x at offset %d", text[at], at)}
				}
			} else {
				var err error
				if text, err = readText(cmd.Context(), "-", a.in); err != nil {
					return err
				}
			}
			c, err := a.connect(cmd.Context(), to)
			if err != nil {
				return err
			}
			defer c.Close()
			toks, err := c.Tokenize(cmd.Context(), api.TokenizeRequest{Model: to.model, Content: text, AddSpecial: bos, ParseSpecial: special, WithPieces: true})
			if err != nil {
				return err
			}
			if countOnly {
				return a.print(strconv.Itoa(len(toks)) + "\n")
			}
			for _, t := range toks {
				if asJSON {
					err = a.printJSON(tokenLine(t.ID, t.Piece))
				} else {
					err = a.print(fmt.Sprintf("%d\t%q\n", t.ID, t.Piece))
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
	f := cmd.Flags()
	to.addFlags(f)
	f.BoolVar(&bos, "bos", false, "add the tokens that the model wants around a text (BOS, EOS)")
	f.BoolVar(&special, "special", false, "recognise special tokens that are spelled out in the text")
	f.BoolVarP(&countOnly, "count", "c", false, "print only the number of tokens")
	f.BoolVar(&asJSON, "json", false, "print one JSON object per token")
	return cmd
}

func tokenLine(id int32, piece []byte) tokenJSON {
	t := tokenJSON{ID: id, Bytes: make([]int, len(piece))}
	for i, b := range piece {
		t.Bytes[i] = int(b)
	}
	if invalidUTF8(piece) < 0 {
		s := string(piece)
		t.Piece = &s
	}
	return t
}
