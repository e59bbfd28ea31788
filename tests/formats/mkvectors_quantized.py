#!/usr/bin/env python3
"""Make tests/formats/quantized: checkpoints of other engines that the reader
takes (good/) and refuses (bad/), and bad/EXPECT with a part of the reason.

A vector is one line of JSON, an object of the small files by name, and behind
it the bytes of model.safetensors.  The model has one layer of linear layers
32 x 32, 64 x 32 and 32 x 64, packed here from the formats' descriptions, bit by bit:

    code of output o, input i of module number m    (3o + 5i + i*i%7 + m) mod 2^b
    scale of output o, group g                      2^-(3 + (o + g) mod 4)
    zero point                                      1 + (o + 2g + m) mod (2^b - 1)

Usage: mkvectors_quantized.py OUTDIR.  Run by hand when a case is added; the
vectors that exist never change.
"""
import json
import os
import struct
import sys

OUT = sys.argv[1]
expect = {}
CONFIG = {"architectures": ["LlamaForCausalLM"], "hidden_size": 32,
          "intermediate_size": 64, "num_hidden_layers": 1,
          "num_attention_heads": 1, "num_key_value_heads": 1,
          "head_dim": 32, "vocab_size": 8, "rms_norm_eps": 1e-05,
          "tie_word_embeddings": True, "torch_dtype": "float16"}
L = "model.layers.0."
MODULES = [("self_attn.q_proj", 32, 32), ("self_attn.k_proj", 32, 32),
           ("self_attn.v_proj", 32, 32), ("self_attn.o_proj", 32, 32),
           ("mlp.gate_proj", 64, 32), ("mlp.up_proj", 64, 32),
           ("mlp.down_proj", 32, 64)]


def code(m, b, o, i):
    return (3 * o + 5 * i + i * i % 7 + m) % 2**b


def scale(o, g):
    return 2.0 ** -(3 + (o + g) % 4)


def zero(m, b, o, g):
    return 1 + (o + 2 * g + m) % (2**b - 1)


def words(values, b):
    """Numbers of b bits as a string of 32-bit words."""
    n = 0
    for k, v in enumerate(values):
        n |= v << b * k
    return n.to_bytes((len(values) * b + 31) // 32 * 4, "little")


def old_words(values, b):
    """As before June 2026: whole numbers in a word."""
    per = 32 // b
    return b"".join(words(values[k:k + per], b)
                    for k in range(0, len(values), per))


def transpose(rows, size=4):
    """Rows of bytes, size bytes an element, as columns."""
    n = len(rows[0]) // size
    return b"".join(r[j * size:(j + 1) * size] for j in range(n) for r in rows)


def f16(values):
    return b"".join(struct.pack("<e", v) for v in values)


def f32(values):
    return b"".join(struct.pack("<f", v) for v in values)


def dense():
    return {"model.embed_tokens.weight": ("F16", [8, 32], f16([0.5] * 256)),
            L + "input_layernorm.weight": ("F16", [32], f16([1] * 32)),
            L + "post_attention_layernorm.weight":
                ("F16", [32], f16([1] * 32)),
            "model.norm.weight": ("F16", [32], f16([1] * 32))}


def ct_packed(m, name, out, inp, b, group, sym=True, old=False):
    n = inp // group
    pack = old_words if old else words
    rows = [pack([code(m, b, o, i) for i in range(inp)], b)
            for o in range(out)]
    t = {name + ".weight_packed":
         ("I32", [out, len(rows[0]) // 4], b"".join(rows)),
         name + ".weight_scale":
         ("F16", [out, n], f16([scale(o, g) for o in range(out)
                                for g in range(n)])),
         name + ".weight_shape": ("I64", [2], struct.pack("<qq", out, inp))}
    if not sym:
        cols = [pack([zero(m, b, o, g) for o in range(out)], b)
                for g in range(n)]
        t[name + ".weight_zero_point"] = ("I32", [len(cols[0]) // 4, n],
                                          transpose(cols))
    return t


def ct_bytes(m, name, out, inp, b=8):
    return {name + ".weight":
            ("I8", [out, inp], bytes((code(m, b, o, i) - 2**(b - 1)) & 255
                                     for o in range(out) for i in range(inp))),
            name + ".weight_scale":
            ("F16", [out, 1], f16([scale(o, 0) for o in range(out)]))}


def ct_fp8(m, name, out, inp, shape):
    n = 1
    for d in shape:
        n *= d
    return {name + ".weight":
            ("F8_E4M3", [out, inp],
             bytes(code(m, 6, o, i) for o in range(out) for i in range(inp))),
            name + ".weight_scale":
            ("F32", shape, f32([scale(k, 0) for k in range(n)]))}


def ct_mxfp4(m, name, out, inp):
    return {name + ".weight_packed":
            ("U8", [out, inp // 2],
             b"".join(words([code(m, 4, o, i) for i in range(inp)], 4)
                      for o in range(out))),
            name + ".weight_scale":
            ("U8", [out, inp // 32],
             bytes(127 - (3 + (o + g) % 4) for o in range(out)
                   for g in range(inp // 32)))}


def gptq(m, name, out, inp, b, group, sym=True, less=1):
    n = inp // group
    rows = [words([code(m, b, o, i) for i in range(inp)], b)
            for o in range(out)]
    z = [words([(2**(b - 1) if sym else zero(m, b, o, g)) - less
                for o in range(out)], b) for g in range(n)]
    return {name + ".qweight": ("I32", [inp * b // 32, out], transpose(rows)),
            name + ".qzeros": ("I32", [n, out * b // 32], b"".join(z)),
            name + ".scales": ("F16", [n, out],
                               f16([scale(o, g) for g in range(n)
                                    for o in range(out)])),
            name + ".g_idx": ("I32", [inp], b"".join(
                struct.pack("<i", i // group) for i in range(inp)))}


def awq_words(values):
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    return b"".join(words([values[c + k] for k in order], 4)
                    for c in range(0, len(values), 8))


def awq(m, name, out, inp, group, sym=True):
    n = inp // group
    return {name + ".qweight":
            ("I32", [inp, out // 8],
             b"".join(awq_words([code(m, 4, o, i) for o in range(out)])
                      for i in range(inp))),
            name + ".qzeros":
            ("I32", [n, out // 8],
             b"".join(awq_words([8 if sym else zero(m, 4, o, g)
                                 for o in range(out)]) for g in range(n))),
            name + ".scales": ("F16", [n, out],
                               f16([scale(o, g) for g in range(n)
                                    for o in range(out)]))}


def ascend(m, name, out, inp, four=False):
    if four:
        w = bytes((code(m, 4, o, i) - 8) & 15 |
                  ((code(m, 4, o + 1, i) - 8) & 15) << 4
                  for o in range(0, out, 2) for i in range(inp))
    else:
        w = bytes((code(m, 8, o, i) - 128) & 255
                  for o in range(out) for i in range(inp))
    return {name + ".weight": ("I8", [out // 2 if four else out, inp], w),
            name + ".weight_scale":
            ("F32", [out, 1], f32([scale(o, 0) for o in range(out)])),
            name + ".weight_offset": ("F32", [out, 1], f32([0] * out))}


def ct_config(bits, group, fmt="pack-quantized", sym=True, type_="int",
              **weights):
    w = {"num_bits": bits, "type": type_, "symmetric": sym, "dynamic": False,
         "strategy": "group" if group else "channel",
         "group_size": group or None, **weights}
    return {"quant_method": "compressed-tensors", "format": fmt,
            "config_groups": {"group_0": {
                "targets": ["Linear"], "weights": w,
                "input_activations": None, "output_activations": None}},
            "ignore": ["lm_head"]}


def gptq_config(bits, group, fmt="gptq", **other):
    return {"quant_method": "gptq", "bits": bits, "group_size": group,
            "desc_act": False, "sym": True, "checkpoint_format": fmt, **other}


AWQ = {"quant_method": "awq", "bits": 4, "group_size": 16,
       "zero_point": True, "version": "gemm"}


def model(make, *args, **more):
    t = dense()
    for m, (name, out, inp) in enumerate(MODULES):
        t.update(make(m, L + name, out, inp, *args, **more))
    return t


def description(kind, tensors):
    d = {"version": "1.0.0", "model_quant_type": kind, "group_size": 0}
    for n in tensors:
        d[n] = kind if "_proj" in n else "FLOAT"
    return d


def vector(quantization, tensors, files=None):
    config = dict(CONFIG)
    if quantization is not None:
        config["quantization_config"] = quantization
    small = {"config.json": config, **(files or {})}
    header, at = {}, 0
    for n, (dtype, shape, data) in tensors.items():
        header[n] = {"dtype": dtype, "shape": shape,
                     "data_offsets": [at, at + len(data)]}
        at += len(data)
    h = json.dumps(header, separators=(",", ":")).encode()
    h += b" " * (-len(h) % 8)
    return (json.dumps(small, separators=(",", ":")).encode() + b"\n" +
            struct.pack("<Q", len(h)) + h +
            b"".join(d for _, _, d in tensors.values()))


def put(path, data):
    path = os.path.join(OUT, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


def good(name, *args, **more):
    put("good/" + name, vector(*args, **more))


def bad(name, why, *args, **more):
    put("bad/" + name, vector(*args, **more))
    expect[name] = why


def make_good():
    for b in 2, 3, 4, 5, 6, 8:
        good(f"ct-int{b}", ct_config(b, 16), model(ct_packed, b, 16))
        good(f"ct-uint{b}", ct_config(b, 16, sym=False),
             model(ct_packed, b, 16, sym=False))
    for b in 3, 5, 6:
        good(f"ct-old-int{b}", ct_config(b, 16),
             model(ct_packed, b, 16, old=True))
        good(f"ct-old-uint{b}", ct_config(b, 16, sym=False),
             model(ct_packed, b, 16, sym=False, old=True))
    good("ct-bytes8", ct_config(8, 0, "int-quantized"), model(ct_bytes))
    good("ct-bytes4", ct_config(4, 0, "int-quantized"), model(ct_bytes, 4))
    fp8 = ct_config(8, 0, "float-quantized", type_="float")
    good("ct-fp8-channel", fp8,
         model(lambda m, n, o, i: ct_fp8(m, n, o, i, [o, 1])))
    good("ct-fp8-tensor", fp8, model(ct_fp8, [1]))
    good("ct-fp8-scalar", fp8, model(ct_fp8, []))
    good("ct-mxfp4", ct_config(4, 32, "mxfp4-pack-quantized", type_="float"),
         model(ct_mxfp4))
    for b in 2, 3, 4, 8:
        good(f"gptq-int{b}", gptq_config(b, 16), model(gptq, b, 16))
        good(f"gptq-uint{b}", gptq_config(b, 16),
             model(gptq, b, 16, sym=False))
        good(f"gptq-v2-uint{b}", gptq_config(b, 16, "gptq_v2"),
             model(gptq, b, 16, sym=False, less=0))
    good("gptq-early", None, model(gptq, 4, 16),
         files={"quantize_config.json": {"bits": 4, "group_size": 16}})
    good("awq-int4", AWQ, model(awq, 16))
    good("awq-uint4", AWQ, model(awq, 16, sym=False))
    t = model(ascend)
    good("ascend-int8", None, t,
         files={"quant_model_description.json":
                description("W8A8_DYNAMIC", t)})
    t = model(ascend, four=True)
    good("ascend-int4", None, t,
         files={"quant_model_description.json":
                description("W4A8_DYNAMIC", t)})


Q = L + "self_attn.q_proj"
D = L + "mlp.down_proj"


def without(t, name):
    return {n: v for n, v in t.items() if n != name}


def having(t, name, value):
    return {**t, name: value}


def bad_ct():
    c, t = ct_config(4, 16), model(ct_packed, 4, 16)
    i32 = t[Q + ".weight_packed"]
    bad("method-unknown", "'quant_method' is 'x'", {"quant_method": "x"}, t)
    bad("method-missing", "'quant_method' is missing", {"bits": 4}, t)
    bad("config-list", "'quantization_config' is not an object", [], t)
    bad("ct-no-groups", "'config_groups' is not an object",
        {**c, "config_groups": []}, t)
    bad("ct-targets-text", "'targets' is not a list",
        {**c, "config_groups": {"a": {"targets": "Linear"}}}, t)
    bad("ct-targets-numbers", "'targets': not names",
        {**c, "config_groups": {"a": {"targets": [1]}}}, t)
    bad("ct-bad-regex", "not a regular expression",
        {**c, "config_groups": {"a": {"targets": ["re:("]}}}, t)
    bad("ct-slow-regex", "no answer for",
        {**c, "config_groups": {"a": {"targets": ["re:(.+.+)+(Y|Z)"]}}}, t)
    bad("ct-no-weights", "'weights' of a group is missing",
        {**c, "config_groups": {"a": {"targets": ["Linear"]}}}, t)
    bad("ct-bits", "'num_bits' is 77", ct_config(77, 16), t)
    bad("ct-width", "weight_packed does not fit", c, having(
        t, Q + ".weight_packed", ("I32", [32, 3], i32[2][:32 * 12])))
    bad("ct-other-bits", "weight_packed does not fit", ct_config(3, 16), t)
    bad("ct-packed-type", "weight_packed does not fit", c, having(
        t, Q + ".weight_packed", ("F32", i32[1], i32[2])))
    bad("ct-no-scale", "its scales are missing", c,
        without(t, Q + ".weight_scale"))
    bad("ct-scale-shape", "scales do not fit", c, having(
        t, Q + ".weight_scale", ("F16", [32, 3], bytes(192))))
    bad("ct-scale-type", "no scales, or of a wrong type", c, having(
        t, Q + ".weight_scale", ("I16", [32, 2], bytes(128))))
    bad("ct-scale-deep", "scales of a shape", c, having(
        t, Q + ".weight_scale", ("F16", [32, 2, 1], bytes(128))))
    bad("ct-zero-shape", "weight_zero_point does not fit", c, having(
        t, Q + ".weight_zero_point", ("I32", [3, 2], bytes(24))))
    bad("ct-g-idx", "groups in the order of activations", c, having(
        t, Q + ".weight_g_idx", ("I32", [32], bytes(128))))
    bad("ct-missing", "is missing", c, without(t, D + ".weight_packed"))
    bad("ct-name", "not a name for a tensor", c, having(
        t, "../x", ("U8", [1], b"x")))
    b = model(ct_bytes, 4)
    bad("ct-bytes-range", "not 4-bit integers",
        ct_config(4, 0, "int-quantized"), having(
            b, Q + ".weight", ("I8", [32, 32], bytes([9]) * 1024)))
    bad("ct-bytes-shape", "its shape is not what config.json",
        ct_config(4, 0, "int-quantized"), having(
            b, Q + ".weight", ("I8", [64, 16], bytes(1024))))
    bad("ct-bytes-zero", "zero points of integers in bytes",
        ct_config(4, 0, "int-quantized"), having(
            b, Q + ".weight_zero_point", ("I8", [32, 1], bytes(32))))
    x = model(ct_mxfp4)
    bad("ct-nvfp4", "NVFP4 is not known", c, having(
        x, Q + ".weight_scale", ("F8_E4M3", [32, 2], bytes(64))))
    bad("ct-mxfp4-groups", "weight_packed does not fit", c, having(
        x, Q + ".weight_scale", ("U8", [32, 2], bytes(64))))


def bad_gptq():
    c, t = gptq_config(4, 16), model(gptq, 4, 16)
    bad("gptq-p", "'checkpoint_format' is 'gptq_p'",
        gptq_config(4, 16, "gptq_p"), t)
    bad("gptq-shape", "qweight does not fit", c, having(
        t, Q + ".qweight", ("I32", [9, 32], bytes(1152))))
    bad("gptq-zeros", "qzeros do not fit", c, having(
        t, Q + ".qzeros", ("I32", [2, 5], bytes(40))))
    bad("gptq-no-zeros", "qzeros do not fit", c, without(t, Q + ".qzeros"))
    bad("gptq-scales", "scales do not fit", c, having(
        t, Q + ".scales", ("F16", [3, 32], bytes(192))))
    bad("gptq-scales-type", "scales of a wrong type", c, having(
        t, Q + ".scales", ("I32", [2, 32], bytes(256))))
    bad("gptq-order", "desc_act", c, having(
        t, Q + ".g_idx", ("I32", [32], b"".join(
            struct.pack("<i", i % 2) for i in range(32)))))
    bad("gptq-index", "g_idx does not fit", c, having(
        t, Q + ".g_idx", ("I32", [33], bytes(132))))
    bad("gptq-zero-16", "a zero point out of range", c, having(
        t, Q + ".qzeros", ("I32", [2, 4], b"\xff" * 32)))
    bad("awq-gemv", "'version' is 'gemv'", {**AWQ, "version": "gemv"},
        model(awq, 16))
    bad("awq-shape", "qweight does not fit", AWQ, having(
        model(awq, 16), Q + ".qweight", ("I32", [32, 8], bytes(1024))))
    bad("awq-scales", "scales of a wrong type", AWQ, having(
        model(awq, 16), Q + ".scales", ("F16", [1], bytes(2))))


def bad_ascend():
    t = model(ascend)
    d = description("W8A8_DYNAMIC", t)

    def files(x):
        return {"quant_model_description.json": x}

    bad("ascend-no-entry", "is missing", None, t,
        files=files(without(d, Q + ".weight")))
    bad("ascend-type", "type 'W9' is not known", None, t,
        files=files(having(d, Q + ".weight", "W9")))
    bad("ascend-list", "not a JSON object", None, t, files=files([1]))
    bad("ascend-offset", "a weight_offset that is not zero", None, having(
        t, Q + ".weight_offset", ("F32", [32, 1], f32([1] * 32))),
        files=files(d))
    bad("ascend-shape", "its shape is not what config.json", None, t,
        files=files(having(d, Q + ".weight", "W4A8_DYNAMIC")))


make_good()
bad_ct()
bad_gptq()
bad_ascend()
with open(os.path.join(OUT, "bad", "EXPECT"), "w") as f:
    for n in sorted(expect):
        f.write(f"{n}\t{expect[n]}\n")
