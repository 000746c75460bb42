package gguf_test

import (
	"bytes"
	"testing"

	"edged/infer/gguf"
	"edged/infer/gguf/gguftest"
)

// TestIdentity: what changes K and V changes a file's identity, names do not.
func TestIdentity(t *testing.T) {
	const rows, width = 100, 64 // 25,600 bytes: more than both ends
	identity := func(change func(b *gguftest.Builder, data []byte)) [32]byte {
		t.Helper()
		var b gguftest.Builder
		data := bytes.Repeat([]byte{1}, 4*rows*width)
		change(&b, data)
		b.Set("general.architecture", "llama")
		b.Tensor("w", gguf.F32, []uint64{width, rows}, data)
		raw, err := b.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		f, err := gguf.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		return f.Identity()
	}
	plain := identity(func(*gguftest.Builder, []byte) {})
	for name, c := range map[string]struct {
		same   bool
		change func(b *gguftest.Builder, data []byte)
	}{
		"again":         {true, func(*gguftest.Builder, []byte) {}},
		"name":          {true, func(b *gguftest.Builder, _ []byte) { b.Set("general.name", "x") }},
		"chat template": {true, func(b *gguftest.Builder, _ []byte) { b.Set("tokenizer.chat_template", "x") }},
		"rope":          {false, func(b *gguftest.Builder, _ []byte) { b.Set("llama.rope.freq_base", float32(1)) }},
		"first weight":  {false, func(_ *gguftest.Builder, d []byte) { d[0] = 2 }},
		"last weight":   {false, func(_ *gguftest.Builder, d []byte) { d[len(d)-1] = 2 }},
		"one tensor more": {false, func(b *gguftest.Builder, d []byte) {
			b.Tensor("v", gguf.F32, []uint64{width, rows}, d)
		}},
	} {
		if got := identity(c.change); (got == plain) != c.same {
			t.Errorf("%s: same identity: %v, want %v", name, got == plain, c.same)
		}
	}
}
