"""Compares this PyTorch model with stored results of the official implementation.

Usage: check_golden.py MODEL_FOLDER [IMAGE_FOLDER]. Every golden/<case>.json of the model is run.
"""

import argparse
import glob
import json
import os
import sys

import torch
from PIL import Image
from safetensors.torch import load_file

from nano import checkpoint
from nano.batches import to_float
from nano.geometry import MAX_CROPPED_IMAGES, Geometry, tiles_of
from nano.model import greedy


def read_geometry(folder: str, config: dict) -> Geometry:
    with open(os.path.join(folder, "processor_config.json")) as file:
        processor = json.load(file)
    side = config["vision_config"].get("image_size", 384)
    pairs = tuple(tuple(pair) for pair in processor["candidate_resolutions"])
    return Geometry(side, processor["patch_size"], processor["downsample_ratio"], pairs)


def prompt_embeddings(model, case: dict, geometry: Geometry, images: str) -> torch.Tensor:
    """Rebuilds the merged embeddings of a stored case from its pictures and ids."""
    ids = torch.tensor([i for i, count in case["input_ids_rle"] for _ in range(count)])
    mask = torch.zeros(len(ids), dtype=torch.bool)
    for start, length in case["images_seq_mask_runs"]:
        mask[start:start + length] = True
    names = [name for turn in case["conversation"] for name in turn.get("images", [])]
    tiles, crops = [], []
    for name in names:
        picture = Image.open(os.path.join(images, name)).convert("RGB")
        cut, crop = tiles_of(picture, geometry, len(names) <= MAX_CROPPED_IMAGES)
        tiles.append(torch.from_numpy(cut))
        crops.append(crop)
    features = None
    if tiles:
        pixels = to_float(torch.cat(tiles).numpy())
        features = model.image_features(pixels, crops)
    return model.merge(ids, mask, features)


@torch.no_grad()
def check(model, geometry: Geometry, case_path: str, images: str | None) -> bool:
    with open(case_path) as file:
        case = json.load(file)
    images = images or os.path.normpath(
        os.path.join(os.path.dirname(case_path), case.get("images_dir", ".")))
    embeddings = prompt_embeddings(model, case, geometry, images)
    tokens = greedy(model, [embeddings], 32, None)[0]
    hidden = model.language(embeddings[None])
    logits = model.language.logits(hidden[0, -1])
    stored = load_file(case_path.replace(".json", ".safetensors"))["logits_last"]
    gap = (logits - stored).abs().max().item()
    same = tokens == case["greedy_tokens_no_stop"]
    print(f"{case_path}: tokens {'equal' if same else 'DIFFER'}, largest logit gap {gap:.1e}")
    return same and gap < 2e-3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("images", nargs="?")
    args = parser.parse_args()
    model = checkpoint.load(args.model)
    geometry = read_geometry(args.model, model.config)
    cases = sorted(glob.glob(os.path.join(args.model, "golden", "*.json")))
    results = [check(model, geometry, case, args.images) for case in cases]
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
