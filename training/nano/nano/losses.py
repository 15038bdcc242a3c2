"""The answer loss: cross-entropy, with soft targets where the answer is a coordinate."""

import torch
import torch.nn.functional as F

from .numbers import soft_target
from .tokens import Codec

SPREAD = 4.0  # a coordinate this far off (of 999) is nearly as good


class AnswerLoss:
    def __init__(self, codec: Codec, vocab_size: int):
        plain = {str(value) for value in range(1000)}
        known = {int(t): i for t, i in codec.number_tokens().items() if t in plain}
        self.columns = torch.tensor([known[value] for value in range(1000)])
        self.value = torch.full((vocab_size,), -1)
        self.value[self.columns] = torch.arange(1000)
        self.open = codec.tokenizer.token_to_id("<|det|>")
        self.close = codec.tokenizer.token_to_id("<|/det|>")
        self.grid = torch.arange(1000)

    def coordinates(self, ids: torch.Tensor) -> torch.Tensor:
        """Returns True at tokens that are numbers between <|det|> and <|/det|>."""
        depth = ((ids == self.open).int() - (ids == self.close).int()).cumsum(1)
        return (depth > 0) & (self.value[ids] >= 0)

    def __call__(self, logits, targets, is_coordinate):
        """Returns the mean loss and figures; all arguments are over answer positions only."""
        log_probs = F.log_softmax(logits, dim=-1)
        plain = F.nll_loss(log_probs[~is_coordinate], targets[~is_coordinate], reduction="sum")
        chosen = log_probs[is_coordinate][:, self.columns]
        truth = self.value[targets[is_coordinate]]
        soft = -(soft_target(truth, self.grid, SPREAD) * chosen).sum()
        with torch.no_grad():
            right = (logits.argmax(-1) == targets)[~is_coordinate].float().mean().item()
            off = (chosen.argmax(-1) - truth).abs().float()
            near = (off <= 20).float().mean().item() if len(off) else 0.0
        figures = {"word": plain.item() / max(1, (~is_coordinate).sum().item()), "right": right,
                   "coord": soft.item() / max(1, len(truth)), "near": near}
        return (plain + soft) / len(targets), figures
