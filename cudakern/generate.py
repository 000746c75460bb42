#!/usr/bin/env python3
"""Compiles src/*.cu to ptx/*.ptx and writes manifest.json. Usage: generate.py NVIDIA, the folder `nvidia` that the
wheels nvidia-cuda-nvrtc-cu12 and, for the register counts, nvidia-cuda-nvcc-cu12, both 12.4, unpack to."""
import ctypes, hashlib, json, pathlib, re, subprocess, sys, tempfile

here = pathlib.Path(__file__).resolve().parent
nvidia = pathlib.Path(sys.argv[1])
VARIANTS = {"sm_80": "compute_80", "sm_90": "compute_90"}
# Sources with instructions of compute capability 9.0 alone.
ONLY_90 = {"warpgroup", "prompt_wgmma"}
WIDTHS = {"u64": 8, "f64": 8, "u32": 4, "f32": 4}

def source_hash():
    h = hashlib.sha256()
    for f in sorted((here / "src").iterdir()):
        h.update(f.name.encode() + b"\0" + f.read_bytes() + b"\0")
    return h.hexdigest()

rtc = ctypes.CDLL(str(nvidia / "cuda_nvrtc/lib/libnvrtc.so.12"))

def compile_ptx(path, arch):
    prog = ctypes.c_void_p()
    assert rtc.nvrtcCreateProgram(ctypes.byref(prog), path.read_bytes(), path.name.encode(), 0, None, None) == 0
    opts = [f"--gpu-architecture={arch}", "--std=c++17", "--extra-device-vectorization", f"-I{here / 'src'}"]
    code = rtc.nvrtcCompileProgram(prog, len(opts), (ctypes.c_char_p * len(opts))(*[o.encode() for o in opts]))
    n = ctypes.c_size_t()
    rtc.nvrtcGetProgramLogSize(prog, ctypes.byref(n))
    log = ctypes.create_string_buffer(n.value)
    rtc.nvrtcGetProgramLog(prog, log)
    if log.value:
        print(path.name, arch, log.value.decode(), file=sys.stderr)
    if code != 0:
        sys.exit(1)
    rtc.nvrtcGetPTXSize(prog, ctypes.byref(n))
    ptx = ctypes.create_string_buffer(n.value)
    rtc.nvrtcGetPTX(prog, ptx)
    return ptx.value.decode()

def resources(ptx, variant):
    """Registers, spilled bytes and static shared memory of every kernel, from the assembler's report."""
    with tempfile.TemporaryDirectory() as d:
        p = pathlib.Path(d) / "k.ptx"
        p.write_text(ptx)
        out = subprocess.run([str(nvidia / "cuda_nvcc/bin/ptxas"), "-v", f"-arch={variant}", str(p), "-o", str(p) + ".cubin"], check=True, capture_output=True, text=True).stderr
    found = {}
    for m in re.finditer(r"Compiling entry function '(\w+)'.*?(\d+) bytes spill stores.*?Used (\d+) registers(.*?)\n", out, re.S):
        smem = re.search(r"(\d+) bytes smem", m[4])
        found[m[1]] = {"registers": int(m[3]), "spilled": int(m[2]), "shared": int(smem[1]) if smem else 0}
    return found

def main():
    major, minor = ctypes.c_int(), ctypes.c_int()
    rtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    kernels = {}
    (here / "ptx").mkdir(exist_ok=True)
    for path in sorted((here / "src").glob("*.cu")):
        for variant, arch in ({"sm_90a": "compute_90a"} if path.stem in ONLY_90 else VARIANTS).items():
            ptx = compile_ptx(path, arch)
            (here / "ptx" / f"{path.stem}.{variant}.ptx").write_text(ptx)
            used = resources(ptx, variant)
            for name, params in re.findall(r"\.visible \.entry (\w+)\((.*?)\)", ptx, re.S):
                types = re.findall(r"\.param \.(\w+) \w+", params)
                k = kernels.setdefault(name, {"module": path.stem, "params": [WIDTHS[t] for t in types], "resources": {}})
                k["resources"][variant] = used[name]
    manifest = {"source_sha256": source_hash(), "compiler": f"NVRTC {major.value}.{minor.value}", "kernels": dict(sorted(kernels.items()))}
    text = json.dumps(manifest, indent=1)
    text = re.sub(r"\[([\d,\s]+)\]", lambda m: "[" + ", ".join(re.findall(r"\d+", m[1])) + "]", text)
    text = re.sub(r'\{\s*"registers": (\d+),\s*"spilled": (\d+),\s*"shared": (\d+)\s*\}', r'{"registers": \1, "spilled": \2, "shared": \3}', text)
    (here / "manifest.json").write_text(text + "\n")

main()
