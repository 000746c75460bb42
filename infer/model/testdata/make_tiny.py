"""Tiny random models with golden logits, one per family and option that changes the step.

Usage: make_tiny.py [NAME ...]    (writes tiny-NAME.gguf and tiny-NAME.json beside this script; default: all)

transformers builds each model from its configuration; random weights replace the initial ones, are rounded to what the
file stores, and give the golden logits in float32. The GGUF file follows the conventions of llama.cpp's converter: its
tensor names and keys, rows of llama's Q and K reordered for rope on neighbouring channels, 1 added to Gemma's norm
weights, Llama 3's rope scaling as tensor rope_freqs.weight.

The JSON files are golden files of package eval: per position the logsumexp, the argmax and the 16 largest logits, and
all logits of the last position.

The files here were made with transformers 5.23.0, torch 2.15.0, gguf 0.19.0, numpy 2.4.6.
"""
import json, math, pathlib, sys, zlib

import gguf
import numpy as np
import torch
import transformers
from transformers import (Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM, Qwen2Config,
                          Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

HERE = pathlib.Path(__file__).parent
F16, Q8_0 = gguf.GGMLQuantizationType.F16, gguf.GGMLQuantizationType.Q8_0
MADE_BY = f"make_tiny.py with transformers {transformers.__version__}, torch {torch.__version__}, float32"

BASE = dict(vocab_size=256, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True, rms_norm_eps=1e-5)


def rope(kind="default", theta=10000.0, **keys):
    return dict(rope_type=kind, rope_theta=theta, **keys)


def llama(**change):
    return LlamaForCausalLM, LlamaConfig, gguf.MODEL_ARCH.LLAMA, BASE | dict(rope_parameters=rope()) | change


def qwen2(**change):
    return Qwen2ForCausalLM, Qwen2Config, gguf.MODEL_ARCH.QWEN2, BASE | dict(rope_parameters=rope(theta=1e6), rms_norm_eps=1e-6) | change


def qwen3(**change):
    return Qwen3ForCausalLM, Qwen3Config, gguf.MODEL_ARCH.QWEN3, BASE | dict(rope_parameters=rope(theta=1e6), head_dim=16) | change


def gemma3(global_rope, **change):
    # 7 layers: five with a window, a global one, one with a window.
    return Gemma3ForCausalLM, Gemma3TextConfig, gguf.MODEL_ARCH.GEMMA3, BASE | dict(
        num_hidden_layers=7, intermediate_size=32, num_key_value_heads=1, head_dim=16, query_pre_attn_scalar=16,
        sliding_window=8, rms_norm_eps=1e-6,
        rope_parameters=dict(full_attention=global_rope, sliding_attention=rope())) | change


# name: (model, tokens of the sequence, weight type)
MODELS = {
    "llama": (llama(), 48, F16),
    "llama-untied": (llama(tie_word_embeddings=False, num_key_value_heads=4, head_dim=12, rope_parameters=rope(theta=5e5)), 48, F16),
    "llama-linear": (llama(rope_parameters=rope("linear", factor=4.0)), 64, F16),
    "llama-llama3": (llama(head_dim=16, rope_parameters=rope(
        "llama3", theta=1000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)), 96, F16),
    "llama-yarn": (llama(head_dim=16, rope_parameters=rope(
        "yarn", factor=4.0, original_max_position_embeddings=64), max_position_embeddings=256), 96, F16),
    "qwen2": (qwen2(tie_word_embeddings=False), 48, F16),
    "qwen2-yarn": (qwen2(rope_parameters=rope("yarn", theta=1e4, factor=4.0, original_max_position_embeddings=48), max_position_embeddings=192), 96, F16),
    "qwen3": (qwen3(), 48, F16),
    "qwen3-yarn": (qwen3(tie_word_embeddings=False, rope_parameters=rope(
        "yarn", theta=1e4, factor=3.0, original_max_position_embeddings=40, beta_fast=4.0, beta_slow=0.5, attention_factor=1.3),
        max_position_embeddings=120), 96, F16),
    "gemma3": (gemma3(rope(theta=1e6)), 48, Q8_0),
    "gemma3-linear": (gemma3(rope("linear", theta=1e6, factor=8.0), num_key_value_heads=2, sliding_window=20), 64, Q8_0),
}


def randomize(model, rng, typ):
    """Replaces all weights and rounds matrices to typ. Scales make attention and the gates far from linear."""
    gemma = isinstance(model, Gemma3ForCausalLM)
    for name, p in model.named_parameters():
        if p.ndim == 2:
            scale = 2.0 if ("q_proj" in name or "k_proj" in name) else 1.0
            if "embed_tokens" not in name:
                scale /= math.sqrt(p.shape[1])
            else:
                scale = 0.3  # less than what the layers add, so that logits depend on them
            value = rounded(rng.normal(0, scale, tuple(p.shape)), typ)
        elif name.endswith("bias"):
            value = rng.normal(0, 0.3, tuple(p.shape))
        else:
            value = (0.0 if gemma else 1.0) + rng.normal(0, 0.2, tuple(p.shape))
        with torch.no_grad():
            p.copy_(torch.from_numpy(np.asarray(value, np.float32)))


def rounded(w, typ):
    return gguf.quants.dequantize(gguf.quants.quantize(np.asarray(w, np.float32), typ), typ)


def neighbours(w, heads):
    """Reorders the rows of every head from (first half, second half) to pairs side by side."""
    dim = w.shape[0] // heads
    return w.reshape(heads, 2, dim // 2, -1).swapaxes(1, 2).reshape(w.shape)


def llama3_factors(p, dim):
    """What Llama 3's scaling divides each rope frequency by."""
    wavelength = 2 * math.pi * p["rope_theta"] ** (np.arange(0, dim, 2) / dim)
    turns = p["original_max_position_embeddings"] / wavelength
    smooth = np.clip((turns - p["low_freq_factor"]) / (p["high_freq_factor"] - p["low_freq_factor"]), 0, 1)
    return (1 / ((1 - smooth) / p["factor"] + smooth)).astype(np.float32)


def write_metadata(w, config, kwargs):
    c = config
    w.add_name("tiny random " + gguf.MODEL_ARCH_NAMES[w.model_arch])
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_block_count(c.num_hidden_layers)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    if "head_dim" in kwargs:
        w.add_key_length(c.head_dim)
        w.add_value_length(c.head_dim)
    if w.model_arch == gguf.MODEL_ARCH.LLAMA:
        w.add_vocab_size(c.vocab_size)
        w.add_rope_dimension_count(kwargs.get("head_dim", c.hidden_size // c.num_attention_heads))
    p = kwargs["rope_parameters"]
    if w.model_arch == gguf.MODEL_ARCH.GEMMA3:
        w.add_sliding_window(c.sliding_window)
        p = p["full_attention"]
    write_rope(w, p)


def write_rope(w, p):
    w.add_rope_freq_base(p["rope_theta"])
    if p["rope_type"] == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(p["factor"])
    if p["rope_type"] == "yarn":
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        w.add_rope_scaling_factor(p["factor"])
        w.add_rope_scaling_orig_ctx_len(p["original_max_position_embeddings"])
        if "attention_factor" in p:
            w.add_rope_scaling_yarn_attn_factor(p["attention_factor"])
        if "beta_fast" in p:
            w.add_rope_scaling_yarn_beta_fast(p["beta_fast"])
            w.add_rope_scaling_yarn_beta_slow(p["beta_slow"])


def write_tensors(w, model, kwargs, typ):
    c = model.config
    names = gguf.get_tensor_name_map(w.model_arch, c.num_hidden_layers)
    for name, p in model.named_parameters():
        v = p.detach().numpy()
        if w.model_arch == gguf.MODEL_ARCH.LLAMA and ".q_proj." in name:
            v = neighbours(v, c.num_attention_heads)
        if w.model_arch == gguf.MODEL_ARCH.LLAMA and ".k_proj." in name:
            v = neighbours(v, c.num_key_value_heads)
        if w.model_arch == gguf.MODEL_ARCH.GEMMA3 and name.endswith("norm.weight"):
            v = v + 1
        out = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if v.ndim == 2:
            stored = gguf.quants.quantize(v, typ)
            # Rounding twice must change nothing, or the golden logits are of other weights.
            assert np.array_equal(gguf.quants.dequantize(stored, typ), v), name
            w.add_tensor(out, stored, raw_dtype=typ)
        else:
            w.add_tensor(out, np.asarray(v, np.float32))
    p = kwargs["rope_parameters"]
    if p.get("rope_type") == "llama3":
        w.add_tensor("rope_freqs.weight", llama3_factors(p, c.head_dim))


def golden(model, tokens):
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0]
    digits = lambda t: [round(v, 5) for v in t.tolist()]
    lse = torch.logsumexp(logits, -1)
    nll = lse[:-1] - logits[:-1].gather(1, torch.tensor(tokens[1:])[:, None])[:, 0]
    last = len(tokens) - 1
    tops = [logits[i].topk(16 if i < last else logits.shape[1]) for i in range(len(tokens))]
    return dict(tokens=tokens, lse=digits(lse), argmax=logits.argmax(-1).tolist(), nll=digits(nll),
                top=[dict(pos=i, ids=t.indices.tolist(), logits=digits(t.values)) for i, t in enumerate(tops)])


def make(name):
    (cls, config, arch, kwargs), n, typ = MODELS[name]
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    model = cls._from_config(config(**kwargs), dtype=torch.float32, attn_implementation="eager").eval()
    randomize(model, rng, typ)
    path = HERE / f"tiny-{name}.gguf"
    w = gguf.GGUFWriter(str(path), gguf.MODEL_ARCH_NAMES[arch])
    w.model_arch = arch
    write_metadata(w, model.config, kwargs)
    write_tensors(w, model, kwargs, typ)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    sequence = golden(model, rng.integers(0, kwargs["vocab_size"], n).tolist())
    with open(HERE / f"tiny-{name}.json", "w") as f:
        json.dump(dict(model=path.name, made_by=MADE_BY, sequences=dict(random=sequence)), f, separators=(",", ":"))
        f.write("\n")
    print(f"{name}: {path.stat().st_size} bytes, mean NLL {np.mean(sequence['nll']):.3f}, largest logit {max(t['logits'][0] for t in sequence['top']):.2f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or MODELS:
        make(name)
