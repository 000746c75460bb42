package catalog

import (
	"cmp"
	"fmt"
	"slices"

	"edged/infer/gguf"
)

// Info describes a model file by its metadata. Strings that the file does not
// give are empty, numbers 0.
type Info struct {
	Path         string
	Bytes        int64 // all parts
	Name         string
	Architecture string
	Licence      string
	Parameters   uint64 // elements of all tensors
	Context      uint64 // tokens the model was trained for
	Layers       uint64
	Tensors      int
	Quantization []TypeShare // largest first
	Tokenizer    string      // tokenizer.ggml.model
	PreTokenizer string      // tokenizer.ggml.pre
	Vocabulary   int         // tokens
	ChatTemplate bool        // whether the file has one
}

// TypeShare is how much of a model is stored in one type.
type TypeShare struct {
	Type    string // as ggml calls it
	Tensors int
	Bytes   int64
}

// Show reads the metadata of the GGUF file, or first part of a split one, at
// path. Errors for malformed files are those of package gguf.
func Show(path string) (Info, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return Info{}, fmt.Errorf("show model: %w", err)
	}
	defer f.Close()
	text := func(key string) string { s, _ := f.String(key); return s }
	arch := text("general.architecture")
	number := func(key string) uint64 { n, _ := f.Uint(arch + "." + key); return n }
	tokens, _ := f.Strings("tokenizer.ggml.tokens")
	info := Info{
		Path:         path,
		Bytes:        f.Size(),
		Name:         text("general.name"),
		Architecture: arch,
		Licence:      text("general.license"),
		Context:      number("context_length"),
		Layers:       number("block_count"),
		Tensors:      len(f.Tensors()),
		Tokenizer:    text("tokenizer.ggml.model"),
		PreTokenizer: text("tokenizer.ggml.pre"),
		Vocabulary:   len(tokens),
		ChatTemplate: text("tokenizer.chat_template") != "",
	}
	info.Quantization, info.Parameters = summarize(f.Tensors())
	return info, nil
}

func summarize(tensors []gguf.Tensor) (shares []TypeShare, parameters uint64) {
	byType := make(map[gguf.Type]TypeShare)
	for _, t := range tensors {
		rows, width := t.Rows()
		parameters += uint64(rows) * uint64(width)
		s := byType[t.Type]
		byType[t.Type] = TypeShare{Type: t.Type.String(), Tensors: s.Tensors + 1, Bytes: s.Bytes + int64(len(t.Data))}
	}
	for _, s := range byType {
		shares = append(shares, s)
	}
	slices.SortFunc(shares, func(a, b TypeShare) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Type, b.Type))
	})
	return shares, parameters
}
