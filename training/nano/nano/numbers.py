"""Coordinates as smooth codes.

A number v in 0..999 is described by cosines of v. Rows of the embedding and of the output matrix
that belong to numbers are made from these codes, so that 412 and 413 share what is learned of
either; codes of the single digits are added, so that digits can also be read one by one.
"""

import math

import torch

RANGE = 1000
FREQUENCIES = list(range(1, 33)) + [36, 40, 48, 56, 64, 80, 96, 112, 128, 160]
NUM_CODES = len(FREQUENCIES)
BIN = 4  # numbers per class of the tower's coordinate head


def codes(values: torch.Tensor) -> torch.Tensor:
    """Returns the cosine codes [..., NUM_CODES] of numbers in 0..999."""
    angle = math.pi * (values.float().unsqueeze(-1) + 0.5) / RANGE
    return torch.cos(angle * torch.tensor(FREQUENCIES, dtype=torch.float32))


def digit_features(text: str) -> torch.Tensor:
    """Returns [1 + 3 + 30]: constant, length, then the digit at each of three places."""
    row = torch.zeros(34)
    row[0] = 1.0
    row[len(text)] = 1.0
    for place, digit in enumerate(text):
        row[4 + 10 * place + int(digit)] = 1.0
    return row


def features(texts: list[str]) -> torch.Tensor:
    """Returns one feature row per number string: value codes, then digit features."""
    values = codes(torch.tensor([int(text) for text in texts]))
    return torch.cat([values, torch.stack([digit_features(text) for text in texts])], dim=1)


def soft_target(values: torch.Tensor, positions: torch.Tensor, spread: float) -> torch.Tensor:
    """Returns for each value a bell over `positions`, summing to 1."""
    gap = (positions.float()[None, :] - values.float()[:, None]) / spread
    return torch.softmax(-0.5 * gap * gap, dim=1)
