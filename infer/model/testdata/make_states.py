"""Golden hidden states of the tiny models: what embeddings are pooled from.

Usage: make_states.py [NAME ...]    (writes states-NAME.json beside this script; default: all)

transformers gives last_hidden_state, the normed states that its language model head would multiply, in float32, for the
weights and the token sequence of make_tiny.py. The files hold the tokens, and the vectors that they are pooled to: the mean
of all states, the first and the last, each divided by its length.

The files here were made with transformers 5.23.0, torch 2.15.0, gguf 0.19.0, numpy 2.4.6.
"""
import json, sys, zlib

import numpy as np
import torch

from make_tiny import HERE, MADE_BY, MODELS, randomize


def pooled(states):
    unit = lambda v: [round(x, 6) for x in (v / v.norm()).tolist()]
    return dict(mean=unit(states.mean(0)), cls=unit(states[0]), last=unit(states[-1]))


def make(name):
    (cls, config, _, kwargs), n, typ = MODELS[name]
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    model = cls._from_config(config(**kwargs), dtype=torch.float32, attn_implementation="eager").eval()
    randomize(model, rng, typ)
    tokens = rng.integers(0, kwargs["vocab_size"], n).tolist()
    with open(HERE / f"tiny-{name}.json") as f:
        assert json.load(f)["sequences"]["random"]["tokens"] == tokens, "another sequence than make_tiny.py's"
    with torch.no_grad():
        states = model.model(torch.tensor([tokens])).last_hidden_state[0]
        # The head on these states gives the model's logits, so they are what it multiplies.
        assert torch.allclose(model.lm_head(states), model(torch.tensor([tokens])).logits[0], atol=1e-5)
    with open(HERE / f"states-{name}.json", "w") as f:
        json.dump(dict(made_by=MADE_BY.replace("make_tiny.py", "make_states.py"), tokens=tokens, **pooled(states)), f, separators=(",", ":"))
        f.write("\n")
    print(name, len(tokens), states.shape[1])


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or MODELS:
        make(name)
