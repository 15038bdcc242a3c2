"""Batches for training, made by a process of their own."""

import random

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from . import dense
from .geometry import Geometry, pad
from .samples import Sample, draw
from .scenes import Scene, crowded_scene, object_scene
from .tokens import Codec


def to_float(tiles: np.ndarray | torch.Tensor) -> torch.Tensor:
    """Returns exactly (u8/255 - 0.5)/0.5."""
    return (torch.as_tensor(tiles).float() / 255 - 0.5) / 0.5


def global_view(scene: Scene, geometry: Geometry) -> np.ndarray:
    side = geometry.image_size
    return np.asarray(pad(scene.image, (side, side))).transpose(2, 0, 1)


def stack_labels(scenes: list[Scene], geometry: Geometry) -> list[torch.Tensor]:
    each = [dense.labels(scene, geometry.image_size, geometry.patch_size) for scene in scenes]
    return [torch.from_numpy(np.stack(column)) for column in zip(*each)]


class DenseStream(IterableDataset):
    """Endless batches of pictures and dense labels, three quarters of them crowded."""

    def __init__(self, seed: int, batch: int, geometry: Geometry):
        self.seed, self.batch, self.geometry = seed, batch, geometry

    def __iter__(self):
        torch.set_num_threads(1)
        rng = random.Random(self.seed)
        while True:
            scenes = [(crowded_scene if rng.random() < 0.75 else object_scene)(rng, False)
                      for _ in range(self.batch)]
            pixels = np.stack([global_view(scene, self.geometry) for scene in scenes])
            yield (torch.from_numpy(pixels), *stack_labels(scenes, self.geometry))


def visible(turn: torch.Tensor) -> torch.Tensor:
    """Returns the attention mask [n, 1, l, l]: the past, as far as it is shared or of one's turn."""
    seen, seer = turn[:, None, :], turn[:, :, None]
    past = torch.ones(turn.shape[1], turn.shape[1], dtype=torch.bool).tril()
    return (past & ((seen == 0) | (seen == seer)))[:, None]


def collate(samples: list[Sample], codec: Codec, geometry: Geometry) -> dict:
    """Right-pads the samples and stacks their pictures; a square picture is stored once."""
    longest = max(len(sample.ids) for sample in samples)
    columns = {"ids": torch.long, "answer": torch.bool, "turn": torch.long,
               "positions": torch.long}
    batch = {}
    for name, kind in columns.items():
        batch[name] = torch.zeros(len(samples), longest, dtype=kind)
        for row, sample in enumerate(samples):
            values = torch.tensor(getattr(sample, name), dtype=kind)
            batch[name][row, :len(values)] = values
    scenes = [scene for sample in samples for scene in sample.scenes]
    pixels = torch.from_numpy(np.stack([global_view(scene, geometry) for scene in scenes]))
    return {**batch, "visible": visible(batch["turn"]), "mask": batch["ids"] == codec.image,
            "pixels": pixels, "labels": stack_labels(scenes, geometry)}


class Stream(IterableDataset):
    """Endless batches from a seed. Samples are sorted by length in pools to save padding."""

    def __init__(self, seed: int, batch: int, mix: dict, codec: Codec, geometry: Geometry):
        self.seed, self.batch, self.mix = seed, batch, mix
        self.codec, self.geometry = codec, geometry

    def __iter__(self):
        torch.set_num_threads(1)
        rng = random.Random(self.seed)
        while True:
            pool = [draw(rng, self.mix, self.codec, self.geometry) for _ in range(self.batch * 4)]
            pool.sort(key=lambda sample: len(sample.ids))
            groups = [pool[i:i + self.batch] for i in range(0, len(pool), self.batch)]
            rng.shuffle(groups)
            for group in groups:
                yield collate(group, self.codec, self.geometry)


def loader(stream: IterableDataset) -> DataLoader:
    return DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=6)
