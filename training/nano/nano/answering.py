"""Asks a model about pictures, with the official processor's geometry."""

import torch

from .batches import to_float
from .geometry import MAX_CROPPED_IMAGES, Geometry, tiles_of, token_count
from .model import VisionLanguageModel, greedy
from .tokens import Codec


def prompt(codec: Codec, question: str, counts: list[int]) -> torch.Tensor:
    return torch.tensor([codec.bos] + codec.user(question, counts))


@torch.no_grad()
def embed(model: VisionLanguageModel, codec: Codec, geometry: Geometry, pictures: list,
          question: str) -> torch.Tensor:
    """Returns the merged embeddings of one question about some pictures."""
    cropping = len(pictures) <= MAX_CROPPED_IMAGES
    cut = [tiles_of(picture, geometry, cropping) for picture in pictures]
    crops = [crop for _, crop in cut]
    ids = prompt(codec, question, [token_count(geometry, crop) for crop in crops])
    features = None
    if pictures:
        pixels = torch.cat([torch.from_numpy(tiles) for tiles, _ in cut])
        features = model.image_features(to_float(pixels), crops)
    return model.merge(ids, ids == codec.image, features)


def ask(model, codec, geometry, cases: list[tuple[list, str]], limit: int = 260) -> list[str]:
    """Returns the answers to (pictures, question) cases."""
    order = sorted(range(len(cases)), key=lambda i: len(cases[i][0]) * 1000 + len(cases[i][1]))
    answers = [""] * len(cases)
    for start in range(0, len(order), 50):
        chosen = order[start:start + 50]
        rows = [embed(model, codec, geometry, *cases[i]) for i in chosen]
        for index, ids in zip(chosen, greedy(model, rows, limit, codec.eos)):
            answers[index] = codec.decode(ids)
    return answers
