package model_test

import (
	"encoding/binary"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"edged/infer/gguf"
	"edged/infer/gguf/gguftest"
	"edged/infer/model"
)

// content is a model file taken apart, to be changed and written again.
type content struct {
	keys    map[string]any
	tensors map[string]gguf.Tensor
}

func read(t *testing.T, path string) content {
	t.Helper()
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	c := content{keys: map[string]any{}, tensors: map[string]gguf.Tensor{}}
	for _, k := range f.Keys() {
		c.keys[k], _ = f.Value(k)
	}
	for _, x := range f.Tensors() {
		c.tensors[x.Name] = x
	}
	return c
}

func (c content) build(t *testing.T) error {
	t.Helper()
	var b gguftest.Builder
	for k, v := range c.keys {
		b.Set(k, v)
	}
	for name, x := range c.tensors {
		b.Tensor(name, x.Type, x.Dims, x.Data)
	}
	data, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	_, err = model.Build(f)
	return errors.Join(err, f.Close())
}

func (c content) set(key string, v any) { c.keys[key] = v }

func (c content) float(name string, dims ...uint64) {
	n := uint64(4)
	for _, d := range dims {
		n *= d
	}
	c.tensors[name] = gguf.Tensor{Name: name, Type: gguf.F32, Dims: dims, Data: make([]byte, n)}
}

func TestBuildRefuses(t *testing.T) {
	for _, c := range []struct {
		name, from, want string
		unsupported      bool
		change           func(content)
	}{
		{name: "no architecture", from: "llama", want: "no general.architecture", change: func(c content) { delete(c.keys, "general.architecture") }},
		{name: "architecture", from: "llama", want: `"mamba"`, unsupported: true, change: func(c content) { c.set("general.architecture", "mamba") }},
		{name: "missing layers", from: "llama", want: "llama.block_count", change: func(c content) { delete(c.keys, "llama.block_count") }},
		{name: "too many layers", from: "llama", want: "1025", change: func(c content) { c.set("llama.block_count", uint32(1025)) }},
		{name: "layer without tensors", from: "llama", want: "blk.2.attn_norm.weight", change: func(c content) { c.set("llama.block_count", uint32(3)) }},
		{name: "heads that do not divide", from: "llama", want: "cannot share 3 KV heads", change: func(c content) { c.set("llama.attention.head_count_kv", uint32(3)) }},
		{name: "per-layer heads", from: "llama", want: "llama.attention.head_count_kv", change: func(c content) { c.set("llama.attention.head_count_kv", []int32{2, 1}) }},
		{name: "experts", from: "llama", want: "8 experts", unsupported: true, change: func(c content) { c.set("llama.expert_count", uint32(8)) }},
		{name: "values of another width", from: "qwen3", want: "value_length", unsupported: true, change: func(c content) { c.set("qwen3.attention.value_length", uint32(8)) }},
		{name: "softcapping", from: "gemma3", want: "final_logit_softcapping 30", unsupported: true, change: func(c content) { c.set("gemma3.final_logit_softcapping", float32(30)) }},
		{name: "attention ahead", from: "qwen3", want: "qwen3.attention.causal false", unsupported: true, change: func(c content) { c.set("qwen3.attention.causal", false) }},
		{name: "causality that is no boolean", from: "qwen3", want: "qwen3.attention.causal is no boolean", change: func(c content) { c.set("qwen3.attention.causal", uint32(1)) }},
		{name: "no window", from: "gemma3", want: "gemma3.attention.sliding_window", change: func(c content) { delete(c.keys, "gemma3.attention.sliding_window") }},
		{name: "other pattern", from: "gemma3", want: "sliding_window_pattern 4", unsupported: true, change: func(c content) { c.set("gemma3.attention.sliding_window_pattern", uint32(4)) }},
		{name: "other pattern per layer", from: "gemma3", want: "sliding_window_pattern", unsupported: true, change: func(c content) {
			c.set("gemma3.attention.sliding_window_pattern", []bool{true, true, true, true, true, true, true})
		}},
		{name: "rope scaling", from: "llama", want: `"longrope"`, unsupported: true, change: func(c content) { c.set("llama.rope.scaling.type", "longrope") }},
		{name: "rope base", from: "llama", want: "llama.rope.freq_base", change: func(c content) { c.set("llama.rope.freq_base", float32(-1)) }},
		{name: "rope base that is text", from: "llama", want: "llama.rope.freq_base is no number", change: func(c content) { c.set("llama.rope.freq_base", "1e6") }},
		{name: "local rope base", from: "gemma3", want: "gemma3.rope.freq_base_swa is -1", change: func(c content) { c.set("gemma3.rope.freq_base_swa", float32(-1)) }},
		{name: "epsilon that is text", from: "llama", want: "llama.attention.layer_norm_rms_epsilon is no number", change: func(c content) { c.set("llama.attention.layer_norm_rms_epsilon", "1e-5") }},
		{name: "epsilon beyond float32", from: "llama", want: "layer_norm_rms_epsilon is 1e+300", change: func(c content) { c.set("llama.attention.layer_norm_rms_epsilon", 1e300) }},
		{name: "epsilon below float32", from: "llama", want: "layer_norm_rms_epsilon is 1e-300", change: func(c content) { c.set("llama.attention.layer_norm_rms_epsilon", 1e-300) }},
		{name: "softcapping that is text", from: "llama", want: "llama.attn_logit_softcapping is no number", change: func(c content) { c.set("llama.attn_logit_softcapping", "50") }},
		{name: "experts that are no count", from: "llama", want: "llama.expert_count is no unsigned integer", change: func(c content) { c.set("llama.expert_count", float32(8)) }},
		{name: "rope scaling that is no text", from: "llama", want: "llama.rope.scaling.type is no text", change: func(c content) { c.set("llama.rope.scaling.type", uint32(2)) }},
		{name: "rope scaling below float32", from: "llama-linear", want: "llama.rope.scaling.factor is 1e-308", change: func(c content) { c.set("llama.rope.scaling.factor", 1e-308) }},
		{name: "rope factor without end", from: "llama-llama3", want: "factor 0 is +Inf", change: func(c content) {
			c.float("rope_freqs.weight", 8)
			for i := range 8 {
				binary.LittleEndian.PutUint32(c.tensors["rope_freqs.weight"].Data[4*i:], math.Float32bits(float32(math.Inf(1))))
			}
		}},
		{name: "long pattern", from: "gemma3", want: "attention.sliding_window_pattern", unsupported: true, change: func(c content) {
			c.set("gemma3.attention.sliding_window_pattern", make([]int32, 1<<16))
		}},
		{name: "long architecture", from: "llama", want: `"xxxxx`, unsupported: true, change: func(c content) { c.set("general.architecture", strings.Repeat("x", 1<<16)) }},
		{name: "rope wider than heads", from: "llama", want: "rope width 10", change: func(c content) { c.set("llama.rope.dimension_count", uint32(10)) }},
		{name: "yarn without its context", from: "qwen2-yarn", want: "original_context_length", change: func(c content) { delete(c.keys, "qwen2.rope.scaling.original_context_length") }},
		{name: "yarn extrapolation", from: "qwen2-yarn", want: "yarn_ext_factor 0.5", unsupported: true, change: func(c content) { c.set("qwen2.rope.scaling.yarn_ext_factor", float32(0.5)) }},
		{name: "yarn log multiplier", from: "qwen2-yarn", want: "yarn_log_multiplier 0.1", unsupported: true, change: func(c content) { c.set("qwen2.rope.scaling.yarn_log_multiplier", float32(0.1)) }},
		{name: "rope factors of another width", from: "llama-llama3", want: "rope_freqs.weight", change: func(c content) { c.float("rope_freqs.weight", 7) }},
		{name: "rope factor of zero", from: "llama-llama3", want: "factor 0 is 0", change: func(c content) { c.float("rope_freqs.weight", 8) }},
		{name: "no embeddings", from: "llama", want: "token_embd.weight", change: func(c content) { delete(c.tensors, "token_embd.weight") }},
		{name: "no second norm", from: "gemma3", want: "blk.3.post_ffw_norm.weight", change: func(c content) { delete(c.tensors, "blk.3.post_ffw_norm.weight") }},
		{name: "output of another width", from: "llama-untied", want: "output.weight", change: func(c content) { c.float("output.weight", 16, 256) }},
		{name: "bias of another width", from: "qwen2", want: "blk.1.attn_k.bias", change: func(c content) { c.float("blk.1.attn_k.bias", 8) }},
		{name: "tensor of three dimensions", from: "llama", want: "blk.0.ffn_up.weight", change: func(c content) { c.float("blk.0.ffn_up.weight", 32, 8, 8) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := read(t, filepath.Join("testdata", "tiny-"+c.from+".gguf"))
			if err := file.build(t); err != nil {
				t.Fatalf("unchanged: %v", err)
			}
			c.change(file)
			err := file.build(t)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error is %v, want one that says %q", err, c.want)
			}
			if len(err.Error()) > 1000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			if c.unsupported && !errors.Is(err, model.ErrUnsupported) {
				t.Errorf("error %v does not wrap ErrUnsupported", err)
			}
		})
	}
}

// A pattern that states what Gemma 3 does anyway is welcome.
func TestBuildAcceptsItsOwnPattern(t *testing.T) {
	for _, v := range []any{uint32(6), []bool{true, true, true, true, true, false, true}} {
		file := read(t, "testdata/tiny-gemma3.gguf")
		file.set("gemma3.attention.sliding_window_pattern", v)
		if err := file.build(t); err != nil {
			t.Errorf("pattern %v: %v", v, err)
		}
	}
}
