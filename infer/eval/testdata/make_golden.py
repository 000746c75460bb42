"""Golden logits of a llama, qwen or gemma GGUF file from PyTorch in float32 over the dequantized weights.

Usage: make_golden.py MODEL.gguf TOKENS.json OUT.json

TOKENS.json is an earlier golden file, or {"sequences": {NAME: {"tokens": [...]}}}. Per sequence the output holds the
tokens; per position the logsumexp, the argmax and the negative log-probability of the next token (nats); and the 16
largest logits at every position of sequences of up to 64 tokens, at every 32nd of longer ones.

golden-needle-26m-q8_0.json was made with transformers 5.23.0, torch 2.15.0, gguf 0.19.0, accelerate 1.15.0.
"""
import importlib.metadata, json, os, sys

import torch
import transformers
from transformers import AutoModelForCausalLM

DIGITS = 5


def rounded(t):
    return [round(v, DIGITS) for v in t.tolist()]


def sequence(model, tokens):
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0].float()
    lse = torch.logsumexp(logits, -1)
    after = torch.tensor(tokens[1:] + tokens[:1])  # the last one's is dropped
    nll = (lse - logits.gather(1, after[:, None])[:, 0])[:-1]
    top = logits.topk(16, -1)
    step = 1 if len(tokens) <= 64 else 32
    return dict(tokens=tokens, lse=rounded(lse), argmax=logits.argmax(-1).tolist(), nll=rounded(nll), top=[
        dict(pos=i, ids=top.indices[i].tolist(), logits=rounded(top.values[i])) for i in range(0, len(tokens), step)])


def main(path, tokens, out):
    torch.set_num_threads(2)
    model = AutoModelForCausalLM.from_pretrained(
        os.path.dirname(path) or ".", gguf_file=os.path.basename(path), dtype=torch.float32, attn_implementation="eager").eval()
    with open(tokens) as f:
        sequences = {name: sequence(model, s["tokens"]) for name, s in json.load(f)["sequences"].items()}
    made_by = f"transformers {transformers.__version__}, torch {torch.__version__}, float32, weights dequantised by gguf {importlib.metadata.version('gguf')}"
    with open(out, "w") as f:
        json.dump(dict(model=os.path.basename(path), made_by=made_by, sequences=sequences), f)


if __name__ == "__main__":
    main(*sys.argv[1:])
