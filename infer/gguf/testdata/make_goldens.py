"""Writes dequant.json and needle.json, the goldens of this package's tests.

Decoding and parsing are done by gguf-py, an independent implementation.
Run from this directory:

    pip install gguf==0.19.0 numpy==2.4.6
    python make_goldens.py
"""

import base64
import hashlib
import importlib.metadata
import json

import numpy as np
from gguf import GGUFReader, GGUFValueType
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

SEED = 20261123
MODEL = "../../../models/needle-26m-q8_0.gguf"
VERSIONS = {p: importlib.metadata.version(p) for p in ("gguf", "numpy")}

# Byte offsets of the float16 fields in a block of each type.
HALVES = {
    T.F32: [], T.F16: [], T.BF16: [],
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
    T.IQ4_NL: [0], T.IQ4_XS: [0],
}


def random_blocks(rng, typ):
    """Random bits, except that no float is infinite or NaN."""
    elems, size = GGML_QUANT_SIZES[typ]
    n = {1: 256, 32: 16, 256: 3}[elems]
    blocks = rng.integers(0, 256, (n, size), dtype=np.uint8)
    # Sign, a zero in one block, subnormal and normal scales all occur.
    for i, off in enumerate(HALVES[typ]):
        half = rng.integers(0, 0x7C00, n).astype(np.uint16)
        half |= rng.integers(0, 2, n).astype(np.uint16) << 15
        half[i % n] = 0x8000 if i == 0 else 0x0001
        blocks[:, off:off + 2] = half.view(np.uint8).reshape(n, 2)
    wide = {T.F32: np.float32, T.F16: np.float16}.get(typ)
    if wide is not None:
        values = blocks.reshape(-1).view(wide)
        values[~np.isfinite(values)] = 0
    if typ == T.BF16:
        words = blocks.reshape(-1).view(np.uint16)
        words[(words & 0x7F80) == 0x7F80] = 0
    return blocks.reshape(-1)


def dequant_golden():
    rng = np.random.default_rng(SEED)
    types = []
    for typ in HALVES:
        blocks = random_blocks(rng, typ)
        values = np.ascontiguousarray(dequantize(blocks, typ), dtype=np.float32).reshape(-1)
        types.append({
            "name": typ.name,
            "type": int(typ),
            "blocks": base64.b64encode(blocks.tobytes()).decode(),
            "values": base64.b64encode(values.tobytes()).decode(),
        })
    return {"versions": VERSIONS, "seed": SEED, "types": types}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def metadata_value(field):
    """Scalars as they are (floats as 64-bit patterns), arrays as a digest."""
    contents = field.contents()
    main, elem = field.types[0], field.types[-1]
    if main == GGUFValueType.ARRAY:
        if elem == GGUFValueType.STRING:
            digest = sha256(b"".join(s.encode() + b"\0" for s in contents))
        else:
            assert elem not in (GGUFValueType.FLOAT32, GGUFValueType.FLOAT64), "digest of floats is not defined"
            digest = sha256(np.array(contents, dtype="<i8").tobytes())
        return {"type": f"[]{elem.name}", "n": len(contents), "sha256": digest}
    if main in (GGUFValueType.FLOAT32, GGUFValueType.FLOAT64):
        return {"type": main.name, "bits": str(np.float64(contents).view(np.uint64))}
    return {"type": main.name, "value": str(contents)}


def needle_golden():
    reader = GGUFReader(MODEL)
    keys = [k for k in reader.fields if not k.startswith("GGUF.")]
    return {
        "versions": VERSIONS,
        "sha256": sha256(open(MODEL, "rb").read()),
        "metadata": [{"key": k, **metadata_value(reader.fields[k])} for k in keys],
        "tensors": [{
            "name": t.name,
            "type": t.tensor_type.name,
            "dims": [int(d) for d in t.shape],
            "offset": int(t.data_offset),
            "bytes": int(t.n_bytes),
            "float32_sha256": sha256(np.ascontiguousarray(dequantize(t.data, t.tensor_type)).tobytes()),
        } for t in reader.tensors],
    }


for name, golden in (("dequant.json", dequant_golden()), ("needle.json", needle_golden())):
    with open(name, "w") as f:
        json.dump(golden, f, indent=1)
        f.write("\n")
