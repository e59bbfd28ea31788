"""What a loader of AscendV1 checkpoints asks of a directory, checked in the
order in which it would fail: files, configuration, an entry for each tensor,
one type for weights that are fused, and for each type its tensors, their types
and shapes.

    ascend_rules.py DIR TYPE        TYPE: of the linear layers
"""
import json
import os
import re
import struct
import sys

directory, kind = sys.argv[1:]


def need(ok, *what):
    if not ok:
        sys.exit("ascend: " + " ".join(str(w) for w in what))


def read(name):
    return json.load(open(os.path.join(directory, name)))


# Files, and a configuration that does not name another method.
config = read("config.json")
need("quantization_config" not in config, "config.json: quantization_config")
parts = sorted(n for n in os.listdir(directory) if n.endswith(".safetensors"))
index = None if len(parts) == 1 else \
    read("quant_model_weights.safetensors.index.json")["weight_map"]
tensors = {}
for part in parts:
    need(re.fullmatch(r"quant_model_weights(-\d{5}-of-\d{5})?\.safetensors",
                      part), "part", part)
    with open(os.path.join(directory, part), "rb") as f:
        head = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
    head.pop("__metadata__", None)
    for name, t in head.items():
        need(index is None or index.get(name) == part, "index:", name)
        tensors[name] = (t["dtype"], t["shape"])
need(index is None or set(index) == set(tensors), "index: other names")

# An entry for each tensor, and none without one.
about = read("quant_model_description.json")
need(about["model_quant_type"] == kind, about["model_quant_type"])
need(isinstance(about["group_size"], int), "group_size")
entries = {k: v for k, v in about.items() if k.startswith(("model.layers.",
           "model.norm", "model.embed", "lm_head"))}
need(set(entries) == set(tensors), "entries:",
     sorted(set(entries) ^ set(tensors))[:4])

heads, head_dim = config["num_attention_heads"], config.get("head_dim") or \
    config["hidden_size"] // config["num_attention_heads"]
d, ffn = config["hidden_size"], config["intermediate_size"]
kv = config["num_key_value_heads"] * head_dim
shape = {"q": (heads * head_dim, d), "k": (kv, d), "v": (kv, d),
         "o": (d, heads * head_dim), "gate": (ffn, d), "up": (ffn, d),
         "down": (d, ffn)}
wide = {"F16": "I64", "BF16": "F32"}[
    "F16" if config.get("torch_dtype", config.get("dtype")) == "float16"
    else "BF16"]
columns = ("weight_scale", "weight_offset")

for layer in range(config["num_hidden_layers"]):
    at = "model.layers.%d." % layer
    types = {p: entries[at + p] for p in
             (("self_attn." if q in "qkvo" else "mlp.") + q + "_proj.weight"
              for q in shape)}
    for fused in (("self_attn.q", "self_attn.k", "self_attn.v"),
                  ("mlp.gate", "mlp.up")):
        need(len({types[p + "_proj.weight"] for p in fused}) == 1, at, fused)
    for q, (rows, cols) in shape.items():
        p = at + ("self_attn." if q in "qkvo" else "mlp.") + q + "_proj."
        need(entries[p + "weight"] == kind, p, entries[p + "weight"])
        want = {"weight": ("I8", [rows, cols])}
        if kind in ("W8A8_DYNAMIC", "W8A16", "W4A8_DYNAMIC"):
            want.update({c: ("F32", [rows, 1]) for c in columns})
        if kind == "W4A8_DYNAMIC":
            want["weight"] = ("I8", [rows // 2, cols])
            want["scale_bias"] = ("F32", [rows, 16 if q in ("o", "down")
                                          else 1])
        if kind == "W8A8":
            want.update({"input_scale": ("F32", [1]),
                         "input_offset": ("F32", [1]),
                         "quant_bias": ("I32", [rows]),
                         "deq_scale": (wide, [rows])})
        for name, it in want.items():
            need(tensors.get(p + name) == it, p + name, tensors.get(p + name),
                 "not", it)
for name, (dtype, _) in tensors.items():
    if entries[name] == "FLOAT":
        need(dtype in ("F32", "F16", "BF16"), name, dtype)
