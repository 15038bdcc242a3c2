#!/usr/bin/env python3
"""Writes a checkpoint of random weights in the official layout, in the shape that a config.json asks for.

usage: make_random_checkpoint.py OUT_DIR [--config DIR] [--tokenizer DIR] [--shards N] [--seed S]

Needs numpy. --config holds config.json (default: fixtures/configs/vl2_tiny), --tokenizer the tokenizer files
(default: fixtures/golden/tokenizers/ds_v3; *.gz are unpacked). Matrices are N(0, 0.02) in bfloat16, norm weights 1.
Values are taken from one pool at a random offset per tensor: 6.7 GB take seconds, and no two experts are alike.
"""
import argparse
import gzip
import json
import os
import shutil
import struct
import sys

import numpy as np

FIXTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures")
POOL_VALUES = 32 << 20


def linear(name, n, k, bias):
    """A weight [n, k], and its bias."""
    return [(name + ".weight", (n, k))] + ([(name + ".bias", (n,))] if bias else [])


def layer_norm(name, width):
    return [(name + ".weight", (width,)), (name + ".bias", (width,))]


def vision_tensors(vision):
    width = vision.get("width", 1024)
    patch = vision.get("patch_size", 16)
    grid = vision.get("image_size", 384) // patch
    mlp = int(width * vision.get("mlp_ratio", 4.0))
    tensors = [("vision.patch_embed.proj.weight", (width, 3, patch, patch)), ("vision.patch_embed.proj.bias", (width,)),
               ("vision.pos_embed", (1, grid * grid, width))]
    for i in range(vision.get("layers", 24)):
        block = f"vision.blocks.{i}."
        tensors += layer_norm(block + "norm1", width) + linear(block + "attn.qkv", 3 * width, width, True)
        tensors += linear(block + "attn.proj", width, width, True) + layer_norm(block + "norm2", width)
        tensors += linear(block + "mlp.fc1", mlp, width, True) + linear(block + "mlp.fc2", width, mlp, True)
    pool = "vision.attn_pool."  # stands in official checkpoints, unused
    tensors += layer_norm("vision.norm", width) + [(pool + "latent", (1, 1, width))]
    tensors += linear(pool + "q", width, width, True) + linear(pool + "kv", 2 * width, width, True)
    tensors += linear(pool + "proj", width, width, True) + layer_norm(pool + "norm", width)
    return tensors + linear(pool + "mlp.fc1", mlp, width, True) + linear(pool + "mlp.fc2", width, mlp, True)


def projector_tensors(projector):
    hidden = projector.get("n_embed", 2048)
    inner = hidden * projector.get("mlp_ratio", 1)
    inputs = projector.get("input_dim", 1152) * projector.get("downsample_ratio", 2) ** 2
    depth = projector.get("depth", 2)
    tensors = [("image_newline", (hidden,)), ("view_seperator", (hidden,))]
    for i in range(depth):
        outputs = hidden if i + 1 == depth else inner
        tensors += linear(f"projector.layers.{2 * i}", outputs, inputs, True)
        inputs = outputs
    return tensors


def attention_tensors(prefix, lang):
    hidden, heads, bias = lang["hidden_size"], lang["num_attention_heads"], lang.get("attention_bias", False)
    if not lang.get("use_mla", True):
        dim = hidden // heads
        kv = lang.get("num_key_value_heads", 32) * dim
        return (linear(prefix + "q_proj", heads * dim, hidden, bias) + linear(prefix + "k_proj", kv, hidden, bias) +
                linear(prefix + "v_proj", kv, hidden, bias) + linear(prefix + "o_proj", hidden, heads * dim, bias))
    rope, nope = lang.get("qk_rope_head_dim", 64), lang.get("qk_nope_head_dim", 128)
    v, latent, q_rank = lang.get("v_head_dim", 128), lang.get("kv_lora_rank", 512), lang.get("q_lora_rank", 1536)
    tensors = linear(prefix + "kv_a_proj_with_mqa", latent + rope, hidden, bias)
    tensors += [(prefix + "kv_a_layernorm.weight", (latent,))]
    tensors += linear(prefix + "kv_b_proj", heads * (nope + v), latent, False)
    tensors += linear(prefix + "o_proj", hidden, heads * v, bias)
    if q_rank is None:
        return tensors + linear(prefix + "q_proj", heads * (nope + rope), hidden, False)
    tensors += linear(prefix + "q_a_proj", q_rank, hidden, bias) + [(prefix + "q_a_layernorm.weight", (q_rank,))]
    return tensors + linear(prefix + "q_b_proj", heads * (nope + rope), q_rank, False)


def mlp_tensors(prefix, hidden, width):
    return (linear(prefix + "gate_proj", width, hidden, False) + linear(prefix + "up_proj", width, hidden, False) +
            linear(prefix + "down_proj", hidden, width, False))


def language_tensors(lang):
    hidden, vocab = lang["hidden_size"], lang["vocab_size"]
    tensors = [("language.model.embed_tokens.weight", (vocab, hidden))]
    experts = lang.get("n_routed_experts")
    for i in range(lang["num_hidden_layers"]):
        prefix = f"language.model.layers.{i}."
        tensors += [(prefix + "input_layernorm.weight", (hidden,)), (prefix + "post_attention_layernorm.weight", (hidden,))]
        tensors += attention_tensors(prefix + "self_attn.", lang)
        is_moe = experts and i >= lang.get("first_k_dense_replace", 0) and i % lang.get("moe_layer_freq", 1) == 0
        if not is_moe:
            tensors += mlp_tensors(prefix + "mlp.", hidden, lang.get("intermediate_size", 11008))
            continue
        width = lang.get("moe_intermediate_size", 1407)
        tensors += [(prefix + "mlp.gate.weight", (experts, hidden))]
        if lang.get("topk_method") == "noaux_tc":
            tensors += [(prefix + "mlp.gate.e_score_correction_bias", (experts,))]
        for e in range(experts):
            tensors += mlp_tensors(f"{prefix}mlp.experts.{e}.", hidden, width)
        if lang.get("n_shared_experts"):
            tensors += mlp_tensors(prefix + "mlp.shared_experts.", hidden, width * lang["n_shared_experts"])
    tensors += [("language.model.norm.weight", (hidden,))]
    if not lang.get("tie_word_embeddings", False):
        tensors += [("language.lm_head.weight", (vocab, hidden))]
    return tensors


def to_bfloat16(values):
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


class Pool:
    """Random bfloat16 values, handed out from random places."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.values = to_bfloat16(self.random.standard_normal(POOL_VALUES, dtype=np.float32) * 0.02)

    def write(self, out, count):
        place = int(self.random.integers(POOL_VALUES))
        while count > 0:
            piece = self.values[place:place + count]
            out.write(memoryview(piece))
            count -= len(piece)
            place = 0


def is_norm_weight(name):
    return name.endswith(".weight") and "norm" in name.split(".")[-2]


def write_shard(path, tensors, pool):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors:
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    one = to_bfloat16(np.ones(1))
    with open(path, "wb", buffering=1 << 22) as out:
        out.write(struct.pack("<Q", len(text)))
        out.write(text)
        for name, shape in tensors:
            count = int(np.prod(shape))
            if is_norm_weight(name):
                out.write(memoryview(np.repeat(one, count)))
            else:
                pool.write(out, count)
    return offset


def write_model(out_dir, config, shards, seed):
    tensors = vision_tensors(config.get("vision_config", {})) + projector_tensors(config.get("projector_config", {}))
    tensors += language_tensors(config["language_config"])
    pool = Pool(seed)
    weight_map, total = {}, 0
    for i in range(shards):
        part = tensors[len(tensors) * i // shards:len(tensors) * (i + 1) // shards]
        name = f"model-{i + 1:05d}-of-{shards:06d}.safetensors"
        total += write_shard(os.path.join(out_dir, name), part, pool)
        weight_map.update({tensor: name for tensor, _ in part})
    with open(os.path.join(out_dir, "model.safetensors.index.json"), "w", encoding="utf-8") as out:
        json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, out, indent=0)
    return len(tensors), total


def copy_tokenizer(source, out_dir):
    for name in sorted(os.listdir(source)):
        path = os.path.join(source, name)
        if name.endswith(".gz"):
            with gzip.open(path, "rb") as packed, open(os.path.join(out_dir, name[:-3]), "wb") as out:
                shutil.copyfileobj(packed, out)
        else:
            shutil.copyfile(path, os.path.join(out_dir, name))


def write_processor_config(config, out_dir):
    vision, projector = config.get("vision_config", {}), config.get("projector_config", {})
    with open(os.path.join(out_dir, "processor_config.json"), "w", encoding="utf-8") as out:
        json.dump({"add_special_token": False, "candidate_resolutions": config["candidate_resolutions"],
                   "downsample_ratio": projector.get("downsample_ratio", 2), "ignore_id": -100, "image_mean": [0.5] * 3,
                   "image_std": [0.5] * 3, "image_token": "<image>", "mask_prompt": False, "normalize": True,
                   "patch_size": vision.get("patch_size", 16), "processor_class": "DeepseekVLV2Processor",
                   "sft_format": "deepseek"}, out, indent=2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out_dir")
    parser.add_argument("--config", default=os.path.join(FIXTURES, "configs", "vl2_tiny"))
    parser.add_argument("--tokenizer", default=os.path.join(FIXTURES, "golden", "tokenizers", "ds_v3"))
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with open(os.path.join(args.config, "config.json"), encoding="utf-8") as source:
        config = json.load(source)
    os.makedirs(args.out_dir, exist_ok=True)
    copy_tokenizer(args.tokenizer, args.out_dir)
    shutil.copyfile(os.path.join(args.config, "config.json"), os.path.join(args.out_dir, "config.json"))
    write_processor_config(config, args.out_dir)
    count, total = write_model(args.out_dir, config, args.shards, args.seed)
    print(f"{count} tensors, {total / 2e6:.1f} M parameters, {total / 1e9:.3f} GB", file=sys.stderr)


if __name__ == "__main__":
    main()
