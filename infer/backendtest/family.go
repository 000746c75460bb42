package backendtest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"edged/infer/gguf"
	"edged/infer/gguf/gguftest"
	"edged/infer/graph"
	"edged/infer/model"
)

// family is a tiny random model of an architecture.
type family struct {
	arch                   string
	layers, heads, kvHeads int
	headDim                int
	window                 int
	bias, headNorm, tied   bool
	sandwich               bool
}

const (
	tinyHidden = 256 // the narrowest that every weight type can store
	tinyFFN    = 256
	tinyVocab  = 331
)

var families = []family{
	{arch: "llama", layers: 2, heads: 8, kvHeads: 2, headDim: 64, tied: true},
	{arch: "qwen2", layers: 2, heads: 4, kvHeads: 1, headDim: 64, bias: true},
	{arch: "qwen3", layers: 2, heads: 3, kvHeads: 3, headDim: 128, headNorm: true},
	{arch: "gemma3", layers: 7, heads: 3, kvHeads: 1, headDim: 64, window: 40, headNorm: true, tied: true, sandwich: true},
}

// program writes the model to a file and builds its program as a user's model
// would be, with a random weight type for every matrix.
func (f family) program(t *testing.T, rng *rand.Rand) *graph.Program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tiny.gguf")
	if err := f.file(rng).WriteFile(path); err != nil {
		t.Fatal(err)
	}
	file, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	})
	p, err := model.Build(file)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (f family) file(rng *rand.Rand) *gguftest.Builder {
	b := &gguftest.Builder{}
	b.Set("general.architecture", f.arch)
	for key, v := range map[string]int{
		"block_count": f.layers, "embedding_length": tinyHidden, "feed_forward_length": tinyFFN, "context_length": 4096,
		"attention.head_count": f.heads, "attention.head_count_kv": f.kvHeads,
		"attention.key_length": f.headDim, "attention.value_length": f.headDim,
	} {
		b.Set(f.arch+"."+key, uint32(v))
	}
	if f.window > 0 {
		b.Set(f.arch+".attention.sliding_window", uint32(f.window))
	}
	b.Set(f.arch+".attention.layer_norm_rms_epsilon", float32(1e-6))
	f.tensors(tensorWriter{b: b, rng: rng})
	return b
}

func (f family) tensors(w tensorWriter) {
	q, kv := f.heads*f.headDim, f.kvHeads*f.headDim
	w.matrix("token_embd.weight", tinyVocab, tinyHidden)
	if !f.tied {
		w.matrix("output.weight", tinyVocab, tinyHidden)
	}
	w.vector("output_norm.weight", tinyHidden, 1)
	for l := range f.layers {
		at := func(name string) string { return fmt.Sprintf("blk.%d.%s", l, name) }
		w.vector(at("attn_norm.weight"), tinyHidden, 1)
		w.vector(at("ffn_norm.weight"), tinyHidden, 1)
		w.matrix(at("attn_q.weight"), q, tinyHidden)
		w.matrix(at("attn_k.weight"), kv, tinyHidden)
		w.matrix(at("attn_v.weight"), kv, tinyHidden)
		w.matrix(at("attn_output.weight"), tinyHidden, q)
		w.matrix(at("ffn_gate.weight"), tinyFFN, tinyHidden)
		w.matrix(at("ffn_up.weight"), tinyFFN, tinyHidden)
		w.matrix(at("ffn_down.weight"), tinyHidden, tinyFFN)
		if f.bias {
			w.vector(at("attn_q.bias"), q, 0)
			w.vector(at("attn_k.bias"), kv, 0)
			w.vector(at("attn_v.bias"), kv, 0)
		}
		if f.headNorm {
			w.vector(at("attn_q_norm.weight"), f.headDim, 1)
			w.vector(at("attn_k_norm.weight"), f.headDim, 1)
		}
		if f.sandwich {
			w.vector(at("post_attention_norm.weight"), tinyHidden, 1)
			w.vector(at("post_ffw_norm.weight"), tinyHidden, 1)
		}
	}
}

type tensorWriter struct {
	b   *gguftest.Builder
	rng *rand.Rand
}

// matrix adds a random matrix [n, k] of a random type that can store it.
func (w tensorWriter) matrix(name string, n, k int) {
	types := gguf.Types()
	typ := types[w.rng.IntN(len(types))]
	for k%typ.BlockElems() != 0 {
		typ = types[w.rng.IntN(len(types))]
	}
	w.b.RandomTensor(w.rng, name, typ, []uint64{uint64(k), uint64(n)}, float32(math.Sqrt(3/float64(k))))
}

func (w tensorWriter) vector(name string, n int, mean float32) {
	v := make([]float32, n)
	for i := range v {
		v[i] = mean + 0.2*float32(w.rng.NormFloat64())
	}
	w.b.Float32s(name, []uint64{uint64(n)}, v)
}

func tinyTokens(rng *rand.Rand, n int) []int32 {
	tok := make([]int32, n)
	for i := range tok {
		tok[i] = int32(rng.IntN(tinyVocab))
	}
	return tok
}
