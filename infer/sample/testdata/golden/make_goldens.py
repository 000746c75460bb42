#!/usr/bin/env python3
"""Writes filters.json: what survives the sampling filters, from their definitions.

An independent implementation in float64: every step sorts and normalises the
whole vocabulary, nothing is selected partially. Run it as

    python make_goldens.py > filters.json

Last written with Python 3.11.7, numpy 2.4.6.
"""

import json

import numpy as np

# A cut closer to its threshold than this would test rounding, not the filter.
MARGIN = 1e-9


def softmax(x):
    e = np.exp(x - np.max(x))
    return e / e.sum()


def adjust(logits, p):
    x = logits.copy()
    prompt, generated = p.get("prompt", []), p.get("generated", [])
    rp = p.get("repeat_penalty", 1.0)
    last_n = p.get("penalty_last_n", 0) or 64
    history = prompt + generated
    window = history if last_n == -1 else history[-last_n:]
    for t in set(window):
        x[t] = x[t] / rp if x[t] > 0 else x[t] * rp
    for t in range(len(x)):
        c = generated.count(t)
        x[t] -= c * p.get("frequency_penalty", 0.0) + (c > 0) * p.get("presence_penalty", 0.0)
    bias = {int(k): v for k, v in p.get("logit_bias", {}).items()}
    banned = x.copy()
    for t, b in bias.items():
        x[t] += b
        banned[t] = -np.inf if b == -100 else banned[t] + b
    return banned if np.isfinite(banned).any() else x


def shortest(prob, rank, mass):
    """The shortest prefix of the tokens in rank order whose mass reaches mass."""
    cum = np.cumsum(prob[rank])
    assert np.min(np.abs(cum - mass)) > MARGIN, (cum, mass)
    n = int((cum < mass).sum()) + 1
    return rank[:n]


def keep(x, ids):
    y = np.full_like(x, -np.inf)
    y[ids] = x[ids]
    return y


def survivors(logits, p):
    x = adjust(logits, p)
    ids = np.arange(len(x))
    k = p.get("top_k", 0)
    if 0 < k < len(x):
        x = keep(x, np.lexsort((ids, -x))[:k])
    if 0 < p.get("typical", 0) < 1:
        prob = softmax(x)
        live = prob > 0
        entropy = -(prob[live] * np.log(prob[live])).sum()
        with np.errstate(divide="ignore"):
            distance = np.abs(-np.log(prob) - entropy)
        x = keep(x, shortest(prob, np.lexsort((ids, distance)), p["typical"]))
    if 0 < p.get("top_p", 0) < 1:
        prob = softmax(x)
        x = keep(x, shortest(prob, np.lexsort((ids, -prob)), p["top_p"]))
    if p.get("min_p", 0) > 0:
        prob = softmax(x)
        ratio = prob / prob.max()
        assert p["min_p"] == 1 or np.min(np.abs(ratio - p["min_p"])) > MARGIN
        x = keep(x, np.flatnonzero(ratio >= p["min_p"]))
    prob = softmax(x / p["temperature"])
    live = np.flatnonzero(np.isfinite(x))
    return [[int(i), float(prob[i])] for i in live]


def f32(a):
    return np.asarray(a, dtype=np.float32).astype(np.float64)


def rows():
    rng = np.random.default_rng(20260101)
    normal = f32(np.round(rng.normal(0, 2, 64), 4))
    peaked = f32(np.round(rng.normal(0, 1, 48), 4))
    peaked[[3, 17, 30]] = [9.5, 8.25, 5.0]
    ties = f32(np.round(rng.normal(0, 1, 40)))
    masked = normal[:40].copy()
    masked[rng.permutation(40)[:25]] = -np.inf
    large = f32(np.round(rng.normal(0, 3, 1500), 3))
    flat = f32(np.zeros(33))
    return dict(normal=normal, peaked=peaked, ties=ties, masked=masked, large=large, flat=flat)


def cases():
    plain = [
        dict(),
        dict(top_k=1), dict(top_k=5), dict(top_k=39), dict(top_k=100000),
        dict(top_p=0.05), dict(top_p=0.51), dict(top_p=0.9), dict(top_p=0.999),
        dict(min_p=0.02), dict(min_p=0.3), dict(min_p=1.0),
        dict(typical=0.1), dict(typical=0.52), dict(typical=0.95),
        dict(top_k=20, typical=0.9, top_p=0.81, min_p=0.07),
        dict(typical=0.7, top_p=0.77), dict(typical=0.6, min_p=0.4), dict(top_p=0.93, min_p=0.11),
    ]
    for row in ("normal", "peaked", "ties", "masked", "large", "flat"):
        for i, p in enumerate(plain):
            yield row, p | dict(temperature=(1.0, 0.5, 1.75)[i % 3])
    history = dict(prompt=[5, 5, 9, 17, 3], generated=[3, 3, 3, 11, 30, 11])
    for row in ("normal", "peaked", "masked"):
        for p in (
            dict(repeat_penalty=1.3),
            dict(repeat_penalty=0.8, penalty_last_n=-1),
            dict(repeat_penalty=1.5, penalty_last_n=4),
            dict(presence_penalty=0.75),
            dict(frequency_penalty=1.25),
            dict(frequency_penalty=-2.0, presence_penalty=-0.5, top_k=4),
            dict(repeat_penalty=2.0, presence_penalty=1.5, frequency_penalty=0.5, top_p=0.8),
        ):
            yield row, p | history | dict(temperature=0.8)
        yield row, dict(logit_bias={"3": -100, "5": 100}, temperature=1.0)
        yield row, dict(logit_bias={"3": -100, "17": -1.5, "1": 4.0}, top_p=0.7, temperature=1.0)
        yield row, dict(logit_bias={"3": 2.5}, repeat_penalty=3.0, temperature=1.0) | history
    yield "normal", dict(logit_bias={str(i): -100 for i in range(64)}, temperature=1.0)
    yield "normal", dict(logit_bias={str(i): -100 for i in range(63)}, temperature=1.0)


def log_softmax(x):
    m = np.max(x)
    return x - m - np.log(np.exp(x - m).sum())


def main():
    table = rows()
    out = dict(rows={}, top_logprobs={}, cases=[])
    for name, x in table.items():
        out["rows"][name] = [float(v) if np.isfinite(v) else None for v in x]
        lp = log_softmax(x)
        top = np.lexsort((np.arange(len(x)), -x))[:20]
        out["top_logprobs"][name] = [[int(i), float(lp[i])] for i in top if np.isfinite(lp[i])]
    for row, p in cases():
        # The product reads its parameters as float32.
        p32 = {k: float(np.float32(v)) if isinstance(v, float) else v for k, v in p.items()}
        live = survivors(table[row], p32)
        if len(live) > 60:  # the ids of a large set are told by their count and sum
            out["cases"].append(dict(row=row, params=p, count=len(live), id_sum=sum(i for i, _ in live),
                                     head=[[i, round(q, 12)] for i, q in live[:10]]))
        else:
            out["cases"].append(dict(row=row, params=p, survivors=[[i, round(q, 12)] for i, q in live]))
    print("{")
    for key in ("rows", "top_logprobs"):
        print(f'"{key}": {{')
        print(",\n".join(f'"{k}": {json.dumps(v)}' for k, v in out[key].items()))
        print("},")
    print('"cases": [')
    print(",\n".join(json.dumps(c) for c in out["cases"]))
    print("]}")


main()
