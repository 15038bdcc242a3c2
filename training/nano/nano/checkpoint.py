"""Reads and writes checkpoints in the official layout."""

import json
import os
import re

import torch
from safetensors.torch import load_file, save_file

from . import numbers
from .experts import Mixture
from .model import VisionLanguageModel

SHARD = "model-00001-of-000001.safetensors"
INDEX = "model.safetensors.index.json"


def export_state(model: VisionLanguageModel) -> dict[str, torch.Tensor]:
    """Returns tensors under their official names; shared number rows are written out."""
    state = {}
    skipped = re.compile(r"mlp\.(gate_up|down)$|factors$")
    for name, tensor in model.state_dict().items():
        if not skipped.search(name):
            state[name] = tensor
    for name, module in model.named_modules():
        if isinstance(module, Mixture):
            for index in range(len(module.down)):
                gate, up = module.gate_up[index].chunk(2)
                prefix = f"{name}.experts.{index}."
                state[prefix + "gate_proj.weight"] = gate
                state[prefix + "up_proj.weight"] = up
                state[prefix + "down_proj.weight"] = module.down[index]
    for table in ("embed_tokens", "lm_head"):
        if hasattr(model.language, table):
            state[f"language.{table}.weight"] = getattr(model.language, table).matrix()
    official = {}
    for name, tensor in state.items():
        if name.startswith("language.") and not name.startswith("language.lm_head"):
            name = "language.model." + name.removeprefix("language.")
        official[name] = tensor.detach().contiguous()
    return official


def import_state(model: VisionLanguageModel, tensors: dict[str, torch.Tensor]) -> None:
    tensors = {name.replace("language.model.", "language.", 1): tensor.float()
               for name, tensor in tensors.items() if "attn_pool" not in name}
    for name, module in model.named_modules():
        if isinstance(module, Mixture):
            def take(index, part):
                return tensors.pop(f"{name}.experts.{index}.{part}_proj.weight")
            count = len(module.down)
            tensors[name + ".gate_up"] = torch.stack(
                [torch.cat([take(i, "gate"), take(i, "up")]) for i in range(count)])
            tensors[name + ".down"] = torch.stack([take(i, "down") for i in range(count)])
    model.load_state_dict(tensors, strict=True)


def load(folder: str) -> VisionLanguageModel:
    """Loads any checkpoint of the official layout, weights widened to float32."""
    with open(os.path.join(folder, "config.json")) as file:
        model = VisionLanguageModel(json.load(file))
    with open(os.path.join(folder, INDEX)) as file:
        shards = sorted(set(json.load(file)["weight_map"].values()))
    tensors: dict[str, torch.Tensor] = {}
    for shard in shards:
        tensors.update(load_file(os.path.join(folder, shard)))
    import_state(model, tensors)
    return model.eval()


def share_numbers(model: VisionLanguageModel, number_tokens: dict[str, int]) -> None:
    """Ties the number rows of both tables to their smooth codes, for training."""
    texts = sorted(number_tokens, key=lambda text: (len(text), text))
    features = numbers.features(texts)
    for table in (model.language.embed_tokens, model.language.lm_head):
        table.share_numbers([number_tokens[text] for text in texts], features)


def save(model: VisionLanguageModel, folder: str) -> None:
    """Writes config.json, the bf16 weights and their index."""
    os.makedirs(folder, exist_ok=True)
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in export_state(model).items()}
    save_file(tensors, os.path.join(folder, SHARD), metadata={"format": "pt"})
    size = sum(tensor.numel() * 2 for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": {n: SHARD for n in sorted(tensors)}}
    with open(os.path.join(folder, INDEX), "w") as file:
        json.dump(index, file, indent=2)
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(model.config, file, indent=2)
