"""The dense teacher: a head on the tower that exists in training only."""

import torch
import torch.nn.functional as F
from torch import nn

from . import numbers
from .classes import NAMES
from .dense import NUM_CLASSES, NUM_COLOURS
from .tokens import Codec


class DenseHead(nn.Module):
    """Predicts, per patch, the thing, its colour, distances to its edges and their coordinates."""

    def __init__(self, width: int):
        super().__init__()
        self.kinds = nn.Linear(width, NUM_CLASSES)
        self.colours = nn.Linear(width, NUM_COLOURS)
        self.distances = nn.Linear(width, 4)
        self.edges = nn.Linear(width, 4 * numbers.NUM_CODES)
        bins = torch.arange(0, numbers.RANGE, numbers.BIN) + numbers.BIN / 2 - 0.5
        self.register_buffer("bins", bins, persistent=False)
        self.register_buffer("bin_codes", numbers.codes(bins), persistent=False)

    def edge_logits(self, features):
        codes = self.edges(features).view(-1, 4, numbers.NUM_CODES)
        return codes @ self.bin_codes.T

    def forward(self, features, classes, colours, distances, edges):
        """Returns the loss and a dict of readable figures."""
        flat = features.flatten(0, -2)
        classes, colours = classes.flatten(), colours.flatten()
        kind_logits = self.kinds(flat)
        covered = (classes > 0).nonzero().squeeze(1)
        loss_kind = F.cross_entropy(kind_logits, classes)
        if not len(covered):
            return loss_kind, {"kind": loss_kind.item(), "patch_right": 0.0}
        inside = flat[covered]
        loss_colour = F.cross_entropy(self.colours(inside), colours[covered])
        gap = (self.distances(inside) - distances.flatten(0, -2)[covered]).abs().mean()
        truth = edges.flatten(0, -2)[covered].flatten() * (numbers.RANGE - 1)
        logits = self.edge_logits(inside).flatten(0, 1)
        target = numbers.soft_target(truth, self.bins, 6.0)
        loss_edge = -(target * F.log_softmax(logits, dim=1)).sum(1).mean()
        with torch.no_grad():
            right = (kind_logits[covered].argmax(1) == classes[covered]).float().mean()
            off = (self.bins[logits.argmax(1)] - truth).abs().median()
        figures = {"kind": loss_kind.item(), "patch_right": right.item(),
                   "gap": gap.item(), "edge_off": off.item()}
        return loss_kind + 0.2 * loss_colour + 3 * gap + 0.15 * loss_edge, figures


def _cells(labels: torch.Tensor) -> torch.Tensor:
    """Groups per-patch labels [n, g, g, ...] by 2x2 cell: [n, cells, 4, ...]."""
    count, grid, rest = labels.shape[0], labels.shape[1] // 2, labels.shape[3:]
    blocks = labels.view(count, grid, 2, grid, 2, *rest).transpose(2, 3)
    return blocks.reshape(count, grid * grid, 4, *rest)


class CellHead(nn.Module):
    """Keeps names and coordinates readable at the image tokens of the language model.

    At an image token of the global view the language model is to predict the name of the object
    that covers most of it, at one of the local view the same name with a leading blank. So the
    words for what is seen are learned at every token, not only where an answer mentions it.

    At the input of the language model an image token is to point where the embedding of that name
    points. Then a question's word and what it names look alike to the first attention layer, which
    finds one by the other as it finds an earlier word; without it the model names well what it sees
    but hardly finds what it is asked for.
    """

    def __init__(self, width: int, codec: Codec):
        super().__init__()
        self.edges = nn.Linear(width, 4 * numbers.NUM_CODES)
        words = [[codec.encode(prefix + name)[0] for name in NAMES] for prefix in ("", " ")]
        self.register_buffer("words", torch.tensor(words), persistent=False)
        bins = torch.arange(0, numbers.RANGE, numbers.BIN) + numbers.BIN / 2 - 0.5
        self.register_buffer("bins", bins, persistent=False)
        self.register_buffer("bin_codes", numbers.codes(bins), persistent=False)

    def likeness(self, tokens, names, embeddings):
        """Returns the loss and accuracy of finding the name of each of `tokens` among all names.

        `tokens` is [n, width], `names` [n] from 0, `embeddings` the input table.
        """
        lost, right = 0.0, 0.0
        for words in self.words:
            logits = F.normalize(tokens, dim=1) @ F.normalize(embeddings[words], dim=1).T * 16
            lost = lost + 0.5 * F.cross_entropy(logits, names)
            right += 0.5 * (logits.argmax(1) == names).float().mean().item()
        return lost, right

    def forward(self, inputs, hidden, model, classes, edges):
        """`inputs` and `hidden` are [pictures, image tokens, width] before the first layer and after the last."""
        by_cell = _cells(classes)
        cell_class = by_cell.mode(dim=2).values
        patch = (by_cell == cell_class.unsqueeze(2)).int().argmax(2)
        where = patch[..., None, None].expand(-1, -1, 1, 4)
        cell_edges = _cells(edges).gather(2, where).squeeze(2)
        side = round(cell_class.shape[1] ** 0.5)
        rows = hidden.shape[1] // 2
        picked = (cell_class > 0) & (cell_class <= len(NAMES))
        if not picked.any():
            return hidden.sum() * 0, {"cell_right": 0.0, "like_right": 0.0}
        first = inputs[:, :rows].view(len(inputs), side, side + 1, -1)[:, :, :side]
        alike, like_right = self.likeness(first.reshape(len(inputs), side * side, -1)[picked],
                                          cell_class[picked] - 1, model.embed_tokens.matrix())
        names, kept, right = 0.0, 0.0, 0.0
        for view, start in enumerate((0, rows + 1)):
            grid = hidden[:, start:start + rows].view(len(hidden), side, side + 1, -1)
            inside = grid[:, :, :side].reshape(len(hidden), side * side, -1)[picked]
            logits, target = model.logits(inside), self.words[view][cell_class[picked] - 1]
            names = names + F.cross_entropy(logits, target)
            right += (logits.argmax(1) == target).float().mean().item() / 2
            codes = self.edges(inside).view(-1, 4, numbers.NUM_CODES) @ self.bin_codes.T
            truth = cell_edges[picked].flatten() * (numbers.RANGE - 1)
            soft = numbers.soft_target(truth, self.bins, 6.0)
            kept = kept - (soft * F.log_softmax(codes.flatten(0, 1), dim=1)).sum(1).mean()
        figures = {"cell_right": right, "like_right": like_right}
        return 0.5 * names + 0.1 * kept + 0.5 * alike, figures
