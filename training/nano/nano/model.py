"""DeepSeek-VL2: tower, projector and language model joined."""

import torch
from torch import nn

from .language import KeyValues, LanguageModel
from .lm_config import LanguageConfig
from .vision import Projector, VisionTower


class VisionLanguageModel(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        self.config = config
        vision = {k: v for k, v in config["vision_config"].items() if not isinstance(v, str)}
        projector = {k: v for k, v in config["projector_config"].items() if not isinstance(v, str)}
        language = LanguageConfig.from_json(config["language_config"])
        self.vision = VisionTower(**vision)
        self.projector = Projector(**projector)
        self.language = LanguageModel(language)
        self.image_newline = nn.Parameter(torch.randn(language.hidden_size) * 0.02)
        self.view_seperator = nn.Parameter(torch.randn(language.hidden_size) * 0.02)
        self.global_first = config.get("global_view_pos", "head") == "head"

    def with_newlines(self, grid):
        """Appends image_newline to each row of [rows, columns, width] and flattens."""
        newline = self.image_newline.expand(*grid.shape[:-2], 1, -1)
        return torch.cat([grid, newline], dim=-2).flatten(-3, -2)

    def _join(self, first, second):
        separator = self.view_seperator.expand(*first.shape[:-2], 1, -1)
        parts = [first, separator, second] if self.global_first else [second, separator, first]
        return torch.cat(parts, dim=-2)

    def square_features(self, tower_features):
        """Features of images whose one local tile equals the global view: [n, tokens, width]."""
        x = self.projector(tower_features)
        side = round(x.shape[1] ** 0.5)
        rows = self.with_newlines(x.view(len(x), side, side, -1))
        return self._join(rows, rows)

    def image_features(self, tiles, crops):
        """Returns all image features in order, [tokens, width]; tiles are float pixels."""
        x = self.projector(self.vision(tiles))
        side = round(x.shape[1] ** 0.5)
        x = x.view(len(x), side, side, -1)
        parts, start = [], 0
        for across, down in crops:
            if across == 0 or down == 0:
                break
            local = x[start + 1:start + 1 + across * down]
            local = local.view(down, across, side, side, -1).permute(0, 2, 1, 3, 4)
            local = local.reshape(down * side, across * side, -1)
            parts.append(self._join(self.with_newlines(x[start]), self.with_newlines(local)))
            start += 1 + across * down
        return torch.cat(parts)

    def merge(self, ids, mask, features):
        """Puts image features in place of the embeddings where mask is true."""
        x = self.language.embed(ids)
        return x if features is None else x.masked_scatter(mask.unsqueeze(-1), features)


@torch.no_grad()
def greedy(model: VisionLanguageModel, embeddings: list[torch.Tensor], limit: int,
           eos: int | None) -> list[list[int]]:
    """Generates for several prompts at once, left-padded; stops each at eos if one is given."""
    lengths = torch.tensor([len(e) for e in embeddings])
    longest, batch = int(lengths.max()), len(embeddings)
    x = torch.zeros(batch, longest, embeddings[0].shape[-1])
    for index, row in enumerate(embeddings):
        x[index, longest - len(row):] = row
    pads = longest - lengths
    steps = torch.arange(longest + limit)
    positions = (steps[None, :] - pads[:, None]).clamp(min=0)
    real = steps[None, :] >= pads[:, None]
    causal = torch.ones(longest, longest, dtype=torch.bool).tril()
    mask = causal[None, None] & (real[:, None, None, :longest] | torch.eye(longest).bool())
    cache, out = KeyValues(), [[] for _ in range(batch)]
    done = [False] * batch
    hidden = model.language(x, positions[:, :longest], cache, mask)
    for step in range(limit):
        tokens = model.language.logits(hidden[:, -1]).argmax(-1)
        for index, token in enumerate(tokens.tolist()):
            if not done[index]:
                out[index].append(token)
                done[index] = token == eos
        if all(done) or step == limit - 1:
            break
        now = longest + step
        hidden = model.language(model.language.embed(tokens[:, None]), positions[:, now:now + 1],
                                cache, real[:, None, None, :now + 1])
    return out
