"""Writes golden/<case>.json and .safetensors of a model: what the reference semantics give.

Weights are widened to float32 and everything is computed in float32. The pictures are those of
the model's examples folder. `tessera check` compares an engine with these files.
"""

import argparse
import json
import os

import torch
from PIL import Image
from safetensors.torch import save_file

from check_golden import read_geometry
from nano import answering, checkpoint, tokens
from nano.batches import to_float
from nano.geometry import MAX_CROPPED_IMAGES, tiles_of, token_count
from nano.model import greedy

STEPS = 32


def runs(values: list) -> list[list]:
    """Returns [value, repeat] pairs."""
    pairs: list[list] = []
    for value in values:
        if pairs and pairs[-1][0] == value:
            pairs[-1][1] += 1
        else:
            pairs.append([value, 1])
    return pairs


def true_runs(mask: list[bool]) -> list[list[int]]:
    """Returns [start, length] of each run of True."""
    found, start = [], 0
    for value, length in runs(mask):
        if value:
            found.append([start, length])
        start += length
    return found


def margins(model, embeddings: torch.Tensor, produced: list[int]) -> list[float]:
    """Returns the gap between the two best logits at each generated token."""
    tail = model.language.embed(torch.tensor(produced[:-1]))
    hidden = model.language(torch.cat([embeddings, tail])[None])[0, len(embeddings) - 1:]
    best = model.language.logits(hidden).topk(2, dim=-1)[0]
    return [round(v, 5) for v in (best[:, 0] - best[:, 1]).tolist()]


@torch.no_grad()
def make_case(model, codec, geometry, folder: str, example: dict):
    """Returns the JSON object and the tensors of one example."""
    pictures = [Image.open(os.path.join(folder, f)).convert("RGB") for f in example["images"]]
    cut = [tiles_of(p, geometry, len(pictures) <= MAX_CROPPED_IMAGES) for p in pictures]
    crops = [crop for _, crop in cut]
    ids = answering.prompt(codec, example["prompt"], [token_count(geometry, c) for c in crops])
    mask = ids == codec.image
    tiles = torch.cat([torch.from_numpy(t) for t, _ in cut])
    pixels = to_float(tiles)
    vision = model.vision(pixels)
    embeddings = model.merge(ids, mask, model.image_features(pixels, crops))
    free = greedy(model, [embeddings], STEPS, None)[0]
    until_eos = greedy(model, [embeddings], STEPS, codec.eos)[0]
    hidden = model.language(embeddings[None])[0]
    gaps = margins(model, embeddings, free)
    case = {
        "case": example["name"],
        "conversation": [
            {"role": "<|User|>", "content": example["prompt"], "images": example["images"]},
            {"role": "<|Assistant|>", "content": ""}],
        "images_dir": "../examples", "input_length": len(ids), "input_ids_rle": runs(ids.tolist()),
        "images_seq_mask_runs": true_runs(mask.tolist()),
        "images_spatial_crop": [list(c) for c in crops],
        "num_tiles": len(tiles), "greedy_tokens_no_stop": free, "greedy_text": codec.decode(free),
        "generated_until_eos": until_eos, "generated_text": codec.decode(until_eos),
        "step_margins": gaps, "min_margin": min(gaps),
    }
    tensors = {
        "inputs_embeds": embeddings, "vision_out_tile0": vision[0],
        "projector_out_tile0": model.projector(vision[:1])[0], "final_norm_last": hidden[-1],
        "logits_last": model.language.logits(hidden[-1]),
        "argmax_all": model.language.logits(hidden).argmax(-1).to(torch.int32),
    }
    return case, {name: tensor.contiguous() for name, tensor in tensors.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="model folder with examples/examples.json")
    parser.add_argument("--cases", type=int, default=6)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, codec = checkpoint.load(args.model), tokens.Codec.load(args.model)
    geometry = read_geometry(args.model, model.config)
    folder = os.path.join(args.model, "examples")
    with open(os.path.join(folder, "examples.json")) as file:
        examples = json.load(file)
    # One of each skill first, so that a few cases cover much.
    seen: dict[str, int] = {}
    for example in examples:
        example["turn"] = seen[example["skill"]] = seen.get(example["skill"], 0) + 1
    chosen = sorted(examples, key=lambda example: example["turn"])[:args.cases]
    golden = os.path.join(args.model, "golden")
    os.makedirs(golden, exist_ok=True)
    for example in chosen:
        case, tensors = make_case(model, codec, geometry, folder, example)
        with open(os.path.join(golden, example["name"] + ".json"), "w") as file:
            json.dump(case, file, indent=1)
        save_file(tensors, os.path.join(golden, example["name"] + ".safetensors"))
        print(f"{example['name']}: {case['generated_text']} (least margin {case['min_margin']})")


if __name__ == "__main__":
    main()
