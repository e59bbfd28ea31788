#!/usr/bin/env python3
"""Make a random-weight checkpoint as Hugging Face lays it out.

For tests and benchmarks that need a model of some shape and do not care what
it says.  Needs Python 3 and numpy only.  The same arguments give the same
bytes with one release of numpy.

Weights are cut from one pool of normal values, so that gigabytes take seconds.
The pool's length is odd: rows of one tensor do not repeat each other.

    mkmodel.py OUT --arch llama --dim 2048 --layers 22 --heads 32 \\
        --kv-heads 4 --ffn 5632 --vocab 32000 --ctx 2048 --shards 2
"""
import argparse
import json
import os
import shutil
import sys

import numpy as np

POOL = 1 << 25          # most values in the pool
BLOCK = 1 << 22         # values drawn or written at once
TYPES = {
    "bf16": ("BF16", "bfloat16", 2),
    "f16": ("F16", "float16", 2),
    "f32": ("F32", "float32", 4),
}
CLASSES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model",
    "special_tokens_map.json", "vocab.json", "merges.txt",
    "generation_config.json",
)


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("out", metavar="OUT", help="directory to make")
    p.add_argument("--arch", choices=sorted(CLASSES), default="llama")
    p.add_argument("--dim", type=int, default=256)
    p.add_argument("--layers", type=int, default=2)
    p.add_argument("--heads", type=int, default=4)
    p.add_argument("--kv-heads", type=int, help="default: as --heads")
    p.add_argument("--head-dim", type=int, help="default: dim / heads")
    p.add_argument("--ffn", type=int, default=768)
    p.add_argument("--vocab", type=int, default=1024)
    p.add_argument("--ctx", type=int, default=2048)
    p.add_argument("--tied", action="store_true", help="no lm_head tensor")
    p.add_argument("--shards", type=int, default=1)
    p.add_argument("--dtype", choices=sorted(TYPES), default="bf16")
    p.add_argument("--std", type=float, default=0.02)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--tokenizer", metavar="DIR",
                   help="copy the tokenizer files and token ids from there")
    p.add_argument("--sparse-file", action="store_true",
                   help="right headers, but the data is a hole of zeros")
    a = p.parse_args()
    a.kv_heads = a.kv_heads or a.heads
    a.head_dim = a.head_dim or a.dim // a.heads
    for name in ("dim", "layers", "heads", "kv_heads", "head_dim", "ffn",
                 "vocab", "ctx", "shards"):
        if getattr(a, name) <= 0:
            p.error("--%s must be positive" % name.replace("_", "-"))
    if a.heads % a.kv_heads:
        p.error("--heads must be a multiple of --kv-heads")
    if a.head_dim % 2:
        p.error("--head-dim must be even")
    return a


def tensors(a):
    """Yield (name, shape, is_norm) in forward-pass order."""
    q, kv = a.heads * a.head_dim, a.kv_heads * a.head_dim
    yield "model.embed_tokens.weight", (a.vocab, a.dim), False
    for i in range(a.layers):
        pre = "model.layers.%d." % i
        att, mlp = pre + "self_attn.", pre + "mlp."
        yield pre + "input_layernorm.weight", (a.dim,), True
        for x, out in (("q", q), ("k", kv), ("v", kv)):
            yield att + x + "_proj.weight", (out, a.dim), False
            if a.arch == "qwen2":
                yield att + x + "_proj.bias", (out,), False
        if a.arch == "qwen3":
            yield att + "q_norm.weight", (a.head_dim,), True
            yield att + "k_norm.weight", (a.head_dim,), True
        yield att + "o_proj.weight", (a.dim, q), False
        yield pre + "post_attention_layernorm.weight", (a.dim,), True
        yield mlp + "gate_proj.weight", (a.ffn, a.dim), False
        yield mlp + "up_proj.weight", (a.ffn, a.dim), False
        yield mlp + "down_proj.weight", (a.dim, a.ffn), False
    yield "model.norm.weight", (a.dim,), True
    if not a.tied:
        yield "lm_head.weight", (a.vocab, a.dim), False


def config(a):
    c = {
        "architectures": [CLASSES[a.arch]],
        "model_type": a.arch,
        "vocab_size": a.vocab,
        "hidden_size": a.dim,
        "num_hidden_layers": a.layers,
        "num_attention_heads": a.heads,
        "num_key_value_heads": a.kv_heads,
        "head_dim": a.head_dim,
        "intermediate_size": a.ffn,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-05 if a.arch in ("llama", "mistral") else 1e-06,
        "rope_theta": 10000.0 if a.arch in ("llama", "mistral") else 1e6,
        "rope_scaling": None,
        "max_position_embeddings": a.ctx,
        "tie_word_embeddings": a.tied,
        "torch_dtype": TYPES[a.dtype][1],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "initializer_range": a.std,
        "use_cache": True,
    }
    if a.arch == "mistral":
        c["sliding_window"] = None
    elif a.arch == "llama":
        c["attention_bias"] = c["mlp_bias"] = False
    else:
        c["use_sliding_window"] = False
        if a.arch == "qwen3":
            c["attention_bias"] = False
    return c


def copy_tokenizer(a, conf):
    for name in TOKENIZER:
        path = os.path.join(a.tokenizer, name)
        if os.path.exists(path):
            shutil.copyfile(path, os.path.join(a.out, name))
    path = os.path.join(a.tokenizer, "config.json")
    if os.path.exists(path):
        with open(path) as f:
            other = json.load(f)
        for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
            if key in other:
                conf[key] = other[key]


def encode(x, dtype):
    """float32 to the bytes of the checkpoint, ties to even."""
    if dtype == "f32":
        return x.astype("<f4", copy=False)
    if dtype == "f16":
        return x.astype("<f2")
    u = x.view(np.uint32)
    return ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype("<u2")


def make_pool(a, rng, largest):
    n = min(POOL, largest) - 1 | 1
    parts = []
    while n > 0:
        x = rng.standard_normal(min(n, BLOCK), dtype=np.float32)
        parts.append(encode(x * np.float32(a.std), a.dtype))
        n -= len(x)
    return np.concatenate(parts)


def write_tensor(f, a, rng, pool, shape, norm):
    n = int(np.prod(shape, dtype=np.int64))
    if norm:
        x = 1 + np.float32(a.std) * rng.standard_normal(n, dtype=np.float32)
        f.write(encode(x, a.dtype).tobytes())
        return
    at = int(rng.integers(len(pool)))
    while n > 0:
        part = pool[at:at + min(n, BLOCK)]
        f.write(part.data)
        n -= len(part)
        at = (at + len(part)) % len(pool)


def split(a, todo):
    """Cut the tensors into shards of about the same number of bytes."""
    size = TYPES[a.dtype][2]
    total = sum(int(np.prod(t[1], dtype=np.int64)) * size for t in todo)
    shards, done = [[]], 0
    for t in todo:
        if shards[-1] and done * a.shards >= total * len(shards):
            shards.append([])
        shards[-1].append(t)
        done += int(np.prod(t[1], dtype=np.int64)) * size
    return shards, total


def write_shard(path, a, rng, pool, todo):
    head, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape, _ in todo:
        n = int(np.prod(shape, dtype=np.int64)) * TYPES[a.dtype][2]
        head[name] = {"dtype": TYPES[a.dtype][0], "shape": list(shape),
                      "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        if a.sparse_file:
            f.truncate(8 + len(text) + at)
            return
        for _, shape, norm in todo:
            write_tensor(f, a, rng, pool, shape, norm)


def main():
    a = arguments()
    todo = list(tensors(a))
    os.makedirs(a.out, exist_ok=True)
    conf = config(a)
    if a.tokenizer:
        copy_tokenizer(a, conf)
    with open(os.path.join(a.out, "config.json"), "w") as f:
        json.dump(conf, f, indent=2)
        f.write("\n")
    rng = np.random.Generator(np.random.PCG64(a.seed))
    pool = None
    if not a.sparse_file:
        pool = make_pool(a, rng, sum(int(np.prod(t[1])) for t in todo))
    shards, total = split(a, todo)
    where = {}
    for i, part in enumerate(shards):
        name = "model.safetensors"
        if len(shards) > 1:
            name = "model-%05d-of-%05d.safetensors" % (i + 1, len(shards))
        write_shard(os.path.join(a.out, name), a, rng, pool, part)
        where.update((t[0], name) for t in part)
    if len(shards) > 1:
        path = os.path.join(a.out, "model.safetensors.index.json")
        with open(path, "w") as f:
            json.dump({"metadata": {"total_size": total},
                       "weight_map": where}, f, indent=2)
            f.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
