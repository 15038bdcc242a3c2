"""Rotary positions, plain and yarn."""

import math

import torch


def _mscale(factor: float, scale: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0


def softmax_scale(head_dim: int, scaling: dict | None) -> float:
    scale = head_dim ** -0.5
    if scaling and scaling.get("mscale_all_dim"):
        scale *= _mscale(scaling["factor"], scaling["mscale_all_dim"]) ** 2
    return scale


def _yarn(freqs: torch.Tensor, dim: int, theta: float, scaling: dict) -> torch.Tensor:
    original = scaling["original_max_position_embeddings"]

    def correction(rotations):
        return dim * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(correction(scaling.get("beta_fast", 32))), 0)
    high = min(math.ceil(correction(scaling.get("beta_slow", 1))), dim - 1)
    span = max(high - low, 0.001)
    ramp = ((torch.arange(dim // 2).float() - low) / span).clamp(0, 1)
    return freqs / scaling["factor"] * ramp + freqs * (1 - ramp)


def tables(positions: torch.Tensor, dim: int, theta: float, scaling: dict | None):
    """Returns cos and sin [..., dim/2] for the positions."""
    freqs = theta ** (-torch.arange(0, dim, 2).float() / dim)
    gain = 1.0
    if scaling:
        freqs = _yarn(freqs, dim, theta, scaling)
        gain = (_mscale(scaling["factor"], scaling.get("mscale", 1))
                / _mscale(scaling["factor"], scaling.get("mscale_all_dim", 0)))
    angles = positions.float().unsqueeze(-1) * freqs
    return angles.cos() * gain, angles.sin() * gain


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, interleaved: bool):
    """Rotates the last dimension; x is [batch, heads, length, dim]."""
    cos, sin = cos.unsqueeze(-3), sin.unsqueeze(-3)
    if interleaved:
        first, second = x[..., 0::2], x[..., 1::2]
    else:
        first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
