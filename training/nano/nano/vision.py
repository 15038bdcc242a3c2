"""The vision tower (SigLIP-like, timm names) and the projector of DeepSeek-VL2."""

import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).reshape(batch, length, width))


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, hidden)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    """A convolution with stride = kernel, written as one matrix product (faster on a CPU)."""

    def __init__(self, patch: int, width: int):
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, pixels):
        batch, channels, height, width = pixels.shape
        rows, columns, p = height // self.patch, width // self.patch, self.patch
        pixels = pixels[:, :, :rows * p, :columns * p]
        cells = pixels.reshape(batch, channels, rows, p, columns, p).permute(0, 2, 4, 1, 3, 5)
        cells = cells.reshape(batch, rows * columns, channels * p * p)
        return F.linear(cells, self.proj.weight.flatten(1), self.proj.bias)


class VisionTower(nn.Module):
    def __init__(self, image_size=384, patch_size=16, width=1024, layers=24, heads=16,
                 mlp_ratio=4.0, **_):
        super().__init__()
        self.patch_embed = PatchEmbed(patch_size, width)
        grid = image_size // patch_size
        self.pos_embed = nn.Parameter(torch.randn(1, grid * grid, width) * 0.02)
        hidden = int(width * mlp_ratio)
        self.blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(layers))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, pixels):
        x = self.patch_embed(pixels) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Projector(nn.Module):
    """Joins blocks of neighbouring patches (channel-major) and maps them to the text width."""

    def __init__(self, input_dim=1152, n_embed=2048, depth=2, mlp_ratio=1, downsample_ratio=2, **_):
        super().__init__()
        self.ratio = downsample_ratio
        inner = n_embed * mlp_ratio
        layers: list[nn.Module] = [nn.Linear(input_dim * downsample_ratio ** 2, inner)]
        for index in range(1, depth):
            layers += [nn.GELU(), nn.Linear(inner, n_embed if index == depth - 1 else inner)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        batch, length, width = x.shape
        side, ratio = round(length ** 0.5), self.ratio
        extra = -side % ratio
        x = F.pad(x.view(batch, side, side, width), (0, 0, 0, extra, 0, extra))
        side = (side + extra) // ratio
        x = x.view(batch, side, ratio, side, ratio, width).permute(0, 1, 3, 5, 2, 4)
        return self.layers(x.reshape(batch, side * side, width * ratio * ratio))
