"""The router and the mixture of experts."""

import torch
import torch.nn.functional as F
from torch import nn

from .lm_config import LanguageConfig


class SwiGlu(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Gate(nn.Module):
    def __init__(self, config: LanguageConfig):
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.randn(config.n_routed_experts, config.hidden_size) * 0.02)
        if config.topk_method == "noaux_tc":
            self.e_score_correction_bias = nn.Parameter(torch.zeros(config.n_routed_experts))

    def _choice(self, scores):
        """Returns the scores that the choice is made by."""
        config = self.config
        if config.topk_method == "greedy":
            return scores
        noaux = config.topk_method == "noaux_tc"
        choice = scores + self.e_score_correction_bias if noaux else scores
        groups = choice.view(len(scores), config.n_group, -1)
        best = groups.topk(2, dim=-1)[0].sum(-1) if noaux else groups.max(-1)[0]
        kept = torch.zeros_like(best).scatter_(1, best.topk(config.topk_group, dim=-1)[1], 1.0)
        mask = kept.unsqueeze(-1).expand_as(groups).reshape_as(scores)
        return choice.masked_fill(mask == 0, 0.0)

    def forward(self, x):
        """Returns expert ids [n,k], weights [n,k], all scores [n,experts]."""
        config = self.config
        logits = F.linear(x.float(), self.weight.float())
        scores = logits.sigmoid() if config.scoring_func == "sigmoid" else logits.softmax(-1)
        ids = self._choice(scores).topk(config.num_experts_per_tok, dim=-1)[1]
        weights = scores.gather(1, ids)
        if config.norm_topk_prob and config.num_experts_per_tok > 1:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        return ids, weights * config.routed_scaling_factor, scores


class Mixture(nn.Module):
    """Routed experts, their matrices stacked, and the shared ones."""

    def __init__(self, config: LanguageConfig):
        super().__init__()
        self.config = config
        width, hidden, count = (config.hidden_size, config.moe_intermediate_size,
                                config.n_routed_experts)
        self.gate = Gate(config)
        self.gate_up = nn.Parameter(torch.randn(count, 2 * hidden, width) * width ** -0.5)
        self.down = nn.Parameter(torch.randn(count, width, hidden) * hidden ** -0.5)
        if config.n_shared_experts:
            self.shared_experts = SwiGlu(width, hidden * config.n_shared_experts)
        self.balance = torch.zeros(())

    def _routed(self, x, ids, weights):
        order = ids.flatten().argsort()
        rows = order // ids.shape[1]
        counts = torch.bincount(ids.flatten(), minlength=len(self.gate_up)).tolist()
        pieces = x[rows].split(counts)
        scales = weights.flatten()[order].unsqueeze(1).split(counts)
        results = []
        for expert, piece in enumerate(pieces):
            gate, up = F.linear(piece, self.gate_up[expert]).chunk(2, dim=-1)
            inner = F.silu(gate) * up * scales[expert].to(x.dtype)
            results.append(F.linear(inner, self.down[expert]))
        return torch.zeros_like(x).index_add(0, rows, torch.cat(results))

    def forward(self, x):
        flat = x.flatten(0, -2)
        ids, weights, scores = self.gate(flat)
        if self.training:
            share = torch.bincount(ids.flatten(), minlength=scores.shape[1]).float()
            share = share / share.sum() * scores.shape[1]
            self.balance = (share * (scores / scores.sum(-1, keepdim=True)).mean(0)).sum()
        out = self._routed(flat, ids, weights)
        if self.config.n_shared_experts:
            out = out + self.shared_experts(flat)
        return out.view_as(x)
