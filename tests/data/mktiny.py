#!/usr/bin/env python3
"""Make the tiny random models of tests/data/tiny and what they must answer.

Needs torch and transformers (versions are written to tiny/README); it is run
by hand when a case is added, never by the tests.
Usage: mktiny.py OUTDIR [CASE ...]

Each case is a checkpoint in the form that its family publishes (spelling of
config.json keys included) and expect.json:
    ids       the prompt, token ids
    last      positions of the rows of logits (the last four of the prompt)
    logits    float32 logits there, from Transformers in float32 with eager
              attention, weights widened from the stored bf16
    greedy    the 8 tokens that follow
    margin    least distance of first and second logit over those 8 choices
    effect    the feature that the case is for, and how far the logits above
              move (greatest absolute difference) when it is taken away
"""
import copy
import json
import os
import shutil
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file, save_file

VOCAB = 256
PROMPT = 80
LAST = 4
GREEDY = 8
STD = 0.2
MARGIN = 0.05           # seeds are tried until every choice is this clear

BASE = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-06,
    "rope_theta": 10000.0,
    "max_position_embeddings": 256,
    "initializer_range": 0.02,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "use_cache": True,
}
LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama",
         "attention_bias": False, "mlp_bias": False, "rope_scaling": None,
         "rms_norm_eps": 1e-05}
SCALED = {**LLAMA, "num_attention_heads": 2, "num_key_value_heads": 1,
          "head_dim": 32, "intermediate_size": 64,
          "tie_word_embeddings": True}
QWEN2 = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2",
         "rope_theta": 1000000.0, "use_sliding_window": False,
         "sliding_window": 8, "max_window_layers": 1}

MIXTRAL = {"architectures": ["MixtralForCausalLM"], "model_type": "mixtral",
           "rms_norm_eps": 1e-05, "intermediate_size": 48,
           "num_local_experts": 4, "num_experts_per_tok": 2,
           "sliding_window": None}
QWEN3_MOE = {"architectures": ["Qwen3MoeForCausalLM"],
             "model_type": "qwen3_moe", "head_dim": 32,
             "num_key_value_heads": 1, "intermediate_size": 96,
             "moe_intermediate_size": 32, "num_experts": 6,
             "num_experts_per_tok": 3, "norm_topk_prob": True,
             "decoder_sparse_step": 1,
             "mlp_only_layers": [0], "rope_theta": 1000000,
             "attention_bias": False, "rope_scaling": None,
             "sliding_window": None, "use_sliding_window": False}

# name: (config, what is taken away, how: a change of config or of tensors)
CASES = {
    "llama": (LLAMA, "rope_theta 10000 (instead: 1e6)", {"rope_theta": 1e6}),
    "llama-rope-llama3": (
        {**SCALED, "rope_scaling": {
            "factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": 32,
            "rope_type": "llama3"}},
        "rope_scaling", {"rope_scaling": None}),
    "llama-rope-linear": (
        {**SCALED, "rope_scaling": {"factor": 4.0, "type": "linear"}},
        "rope_scaling", {"rope_scaling": None}),
    "llama-rope-yarn": (
        {**SCALED, "max_position_embeddings": 128, "rope_scaling": {
            "factor": 4.0, "original_max_position_embeddings": 32,
            "type": "yarn"}},
        "rope_scaling", {"rope_scaling": None}),
    "mistral": (
        {"architectures": ["MistralForCausalLM"], "model_type": "mistral",
         "rms_norm_eps": 1e-05, "intermediate_size": 96,
         "sliding_window": 16},
        "sliding_window 16", {"sliding_window": None}),
    "qwen2": (QWEN2, "biases of q, k, v", ".bias"),
    "qwen2-tied": ({**QWEN2, "tie_word_embeddings": True,
                    "intermediate_size": 96},
                   "biases of q, k, v", ".bias"),
    "qwen3": (
        {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3",
         "head_dim": 32, "num_key_value_heads": 1, "intermediate_size": 96,
         "tie_word_embeddings": True, "rope_theta": 1000000,
         "attention_bias": False, "rope_scaling": None,
         "sliding_window": None, "use_sliding_window": False,
         "max_window_layers": 2, "dtype": "bfloat16"},
        "weights of q_norm, k_norm (instead: 1)", "_norm.weight"),
    "mixtral": (MIXTRAL, "num_experts_per_tok 2 (instead: 1)",
                {"num_experts_per_tok": 1}),
    "qwen3-moe": (QWEN3_MOE, "norm_topk_prob (instead: false)",
                  {"norm_topk_prob": False}),
}


def config_of(case):
    conf = {**BASE, **CASES[case][0]}
    if "dtype" in conf:
        del conf["torch_dtype"]
    return dict(sorted(conf.items()))


def write(where, conf, weights):
    with open(os.path.join(where, "config.json"), "w") as f:
        json.dump(conf, f, indent=2)
        f.write("\n")
    path = os.path.join(where, "model.safetensors")
    save_file(weights, path, metadata={"format": "pt"})
    os.chmod(path, 0o644)


def load(where, dtype=torch.float32):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        where, dtype=dtype, attn_implementation="eager")
    return model.eval()


def logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0].float()


def shapes(model, conf):
    """Tensors under the names of the published checkpoints, which those of
    models with experts have in files alone."""
    if "num_experts_per_tok" not in conf:
        return model.state_dict()
    other = tempfile.mkdtemp()
    model.save_pretrained(other)
    weights = load_file(os.path.join(other, "model.safetensors"))
    shutil.rmtree(other)
    return dict(sorted(weights.items()))


def draw(conf, gen):
    """Random weights under the names of the published checkpoints."""
    kind = transformers.AutoConfig.for_model(**copy.deepcopy(conf))
    model = transformers.AutoModelForCausalLM.from_config(kind)
    weights = {}
    for name, t in shapes(model, conf).items():
        if name == "lm_head.weight" and conf["tie_word_embeddings"]:
            continue
        x = torch.randn(t.shape, generator=gen)
        if name.endswith("norm.weight"):
            x = 1 + 0.3 * x
        else:
            x *= 0.5 if name.endswith(".bias") else STD
        weights[name] = x.to(torch.bfloat16)
    return weights


def without(where, change):
    """The same model lacking the feature, in a directory of its own."""
    other = tempfile.mkdtemp()
    with open(os.path.join(where, "config.json")) as f:
        conf = json.load(f)
    weights = load_file(os.path.join(where, "model.safetensors"))
    if isinstance(change, dict):
        conf.update(change)
    else:
        part = [n for n in weights if n.endswith(change) and "self_attn" in n]
        assert part
        for name in part:
            fill = 0 if change == ".bias" else 1
            weights[name] = torch.full_like(weights[name], fill)
    write(other, conf, weights)
    model = load(other)
    shutil.rmtree(other)
    return model


def answer(model, gen):
    ids = torch.randint(3, VOCAB, (PROMPT,), generator=gen).tolist()
    rows = logits(model, ids)
    greedy, margin = [], float("inf")
    for _ in range(GREEDY):
        top = logits(model, ids + greedy)[-1].topk(2)
        margin = min(margin, float(top.values[0] - top.values[1]))
        greedy.append(int(top.indices[0]))
    return ids, rows[-LAST:], greedy, margin


def cached(model, ids):
    """The continuation once more, through Transformers' KV cache."""
    past, tail, step = None, [], torch.tensor([ids])
    with torch.no_grad():
        while len(tail) < GREEDY:
            o = model(step, past_key_values=past, use_cache=True)
            past = o.past_key_values
            tail.append(int(o.logits[0, -1].argmax()))
            step = torch.tensor([[tail[-1]]])
    return tail


def make(out, case):
    where = os.path.join(out, case)
    os.makedirs(where, exist_ok=True)
    conf = config_of(case)
    for seed in range(1, 1000):
        gen = torch.Generator().manual_seed(seed)
        write(where, conf, draw(conf, gen))
        model = load(where)
        ids, rows, greedy, margin = answer(model, gen)
        if margin >= MARGIN:
            break
    assert margin >= MARGIN and cached(model, ids) == greedy
    other = logits(without(where, CASES[case][2]), ids)[-LAST:]
    moved = float((rows - other).abs().max())
    assert moved > 0.1
    with open(os.path.join(where, "expect.json"), "w") as f:
        f.write('{\n"ids": %s,\n' % json.dumps(ids))
        f.write('"last": %s,\n' % list(range(PROMPT - LAST, PROMPT)))
        f.write('"logits": [\n%s],\n' % ",\n".join(
            "[" + ", ".join("%.9g" % x for x in row) + "]"
            for row in rows.tolist()))
        f.write('"greedy": %s,\n"margin": %.6f,\n' % (greedy, margin))
        f.write('"effect": {"without": "%s", "max_abs_diff": %.6f}\n}\n'
                % (CASES[case][1], moved))
    low = logits(load(where, torch.bfloat16), ids)[-LAST:]
    off = float((rows - low).abs().max())
    print("%-18s seed %2d margin %.3f std %.2f effect %.3f bf16 %.3f" %
          (case, seed, margin, float(rows.std()), moved, off))
    return off


def main():
    if len(sys.argv) < 2:
        sys.exit("usage: mktiny.py OUTDIR [CASE ...]")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    off = {case: make(sys.argv[1], case) for case in sys.argv[2:] or CASES}
    if sys.argv[2:]:
        return
    with open(os.path.join(sys.argv[1], "README"), "w") as f:
        f.write(
            "Tiny random models (2 layers, bf16) and the logits they must"
            " give: <case>/expect.json.\n"
            "Made by tests/data/mktiny.py, whose head explains the fields;"
            " ours, no outside data.\n"
            "torch %s, transformers %s, CPU, one thread, eager attention.\n"
            % (torch.__version__, transformers.__version__) +
            "All figures are of the float32 forward pass; no tokenizer, token"
            " ids only.\n"
            "Computed in bf16 instead, the logits of 'llama' are off by up to"
            " %.3f: a bf16 engine cannot be held to less.\n" % off["llama"])


if __name__ == "__main__":
    main()
