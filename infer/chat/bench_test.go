package chat

import (
	"fmt"
	"strings"
	"testing"
)

// document is a text of about n tokens (6 bytes each).
func document(n int) string { return strings.Repeat("lorem ipsum dolor sit amet, ", n*6/28) }

// BenchmarkRender renders one long document, and the same amount of text as a
// long conversation. Time must grow with the text and not with its square.
func BenchmarkRender(b *testing.B) {
	for _, name := range []string{"needle", "qwen3", "llama32_like", "gemma3_like"} {
		tmpl := load(b, name, Options{BOS: "<s>", EOS: "</s>"})
		for _, nTok := range []int{6_000, 120_000} {
			doc := Request{Messages: []Message{{Role: "user", Content: document(nTok)}}, AddGenerationPrompt: true}
			talk := Request{AddGenerationPrompt: true}
			for i := range nTok / 60 {
				talk.Messages = append(talk.Messages, Message{Role: []string{"user", "assistant"}[i%2], Content: document(60)})
			}
			for shape, req := range map[string]Request{"document": doc, "talk": talk} {
				b.Run(fmt.Sprintf("%s/%s/%d", name, shape, nTok), func(b *testing.B) {
					for b.Loop() {
						if _, err := tmpl.Render(req); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}
