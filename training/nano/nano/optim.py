"""Muon for matrices, AdamW for the rest. Muon needs fewer steps, and steps are what costs here."""

import torch


def orthogonalise(update: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Newton-Schulz iteration on a batch of matrices [n, rows, columns]."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = update / (update.norm(dim=(1, 2), keepdim=True) + 1e-7)
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.transpose(1, 2) if tall else x


class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3, momentum=0.95, weight_decay=0.05):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes: dict[tuple, list] = {}
            for param in group["params"]:
                if param.grad is not None:
                    shapes.setdefault(tuple(param.shape), []).append(param)
            for params in shapes.values():
                self._step_same_shape(params, group)

    def _step_same_shape(self, params, group):
        updates = []
        for param in params:
            state = self.state[param]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(param)
            state["momentum"].lerp_(param.grad, 1 - group["momentum"])
            updates.append(param.grad.lerp(state["momentum"], group["momentum"]))
        rows, columns = params[0].shape[-2:]
        stacked = torch.stack(updates).view(-1, rows, columns)
        scale = 0.2 * max(rows, columns) ** 0.5
        directions = orthogonalise(stacked).view(len(params), *params[0].shape)
        for param, direction in zip(params, directions):
            param.mul_(1 - group["lr"] * group["weight_decay"])
            param.add_(direction, alpha=-group["lr"] * scale)


def build(named_params, lr: float, tower_scale: float = 1.0):
    """Returns the optimizers: Muon for inner matrices, AdamW for the others.

    Each group has a "scale" that its rate is multiplied with: a tower that already sees should
    move less than a language model that starts from nothing.
    """
    groups: dict[tuple[bool, bool], list] = {}
    for name, param in named_params:
        outer = any(word in name for word in ("embed", "head", "gate.weight"))
        key = (param.ndim >= 2 and not outer, "vision." in name)
        groups.setdefault(key, []).append(param)

    def of(matrices: bool) -> list[dict]:
        return [{"params": groups[matrices, tower], "scale": tower_scale if tower else 1.0}
                for tower in (False, True) if groups.get((matrices, tower))]

    return [Muon(of(True), lr=lr),
            torch.optim.AdamW(of(False), lr=lr, betas=(0.9, 0.98), weight_decay=0.01)]
