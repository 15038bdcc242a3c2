"""The DeepSeek-V2 language model: MLA or plain attention, mixture of experts."""

import torch
import torch.nn.functional as F
from torch import nn

from . import rope
from .experts import Mixture, SwiGlu
from .lm_config import LanguageConfig


class RmsNorm(nn.Module):
    def __init__(self, width: int, eps: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        wide = x.float()
        scaled = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return scaled.to(x.dtype) * self.weight


class KeyValues:
    """Keys and values of the tokens seen so far, one entry per layer."""

    def __init__(self):
        self.layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def extend(self, layer: int, keys, values):
        if layer in self.layers:
            old_keys, old_values = self.layers[layer]
            keys, values = torch.cat([old_keys, keys], 2), torch.cat([old_values, values], 2)
        self.layers[layer] = (keys, values)
        return keys, values


class Attention(nn.Module):
    """Base of both kinds: scores, mixing and output."""

    def __init__(self, config: LanguageConfig, layer: int):
        super().__init__()
        self.config, self.layer = config, layer
        self.heads = config.num_attention_heads

    def mix(self, q, k, v, cache, mask, scale):
        if cache is not None:
            k, v = cache.extend(self.layer, k, v)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None,
                                             scale=scale)
        return self.o_proj(out.transpose(1, 2).flatten(2))


class LatentAttention(Attention):
    def __init__(self, config: LanguageConfig, layer: int):
        super().__init__(config, layer)
        width, bias, c = config.hidden_size, config.attention_bias, config
        self.q_dim = c.qk_nope_head_dim + c.qk_rope_head_dim
        if c.q_lora_rank is None:
            self.q_proj = nn.Linear(width, self.heads * self.q_dim, bias=False)
        else:
            self.q_a_proj = nn.Linear(width, c.q_lora_rank, bias=bias)
            self.q_a_layernorm = RmsNorm(c.q_lora_rank)
            self.q_b_proj = nn.Linear(c.q_lora_rank, self.heads * self.q_dim, bias=False)
        self.kv_a_proj_with_mqa = nn.Linear(width, c.kv_lora_rank + c.qk_rope_head_dim, bias=bias)
        self.kv_a_layernorm = RmsNorm(c.kv_lora_rank)
        self.kv_b_proj = nn.Linear(
            c.kv_lora_rank, self.heads * (c.qk_nope_head_dim + c.v_head_dim), bias=False)
        self.o_proj = nn.Linear(self.heads * c.v_head_dim, width, bias=bias)
        self.scale = rope.softmax_scale(self.q_dim, c.rope_scaling)

    def forward(self, x, positions, cache, mask):
        c, (batch, length, _) = self.config, x.shape
        q = (self.q_proj(x) if c.q_lora_rank is None
             else self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x))))
        q = q.view(batch, length, self.heads, self.q_dim).transpose(1, 2)
        q_nope, q_rope = q.split([c.qk_nope_head_dim, c.qk_rope_head_dim], dim=-1)
        latent, k_rope = self.kv_a_proj_with_mqa(x).split(
            [c.kv_lora_rank, c.qk_rope_head_dim], dim=-1)
        kv = self.kv_b_proj(self.kv_a_layernorm(latent))
        kv = kv.view(batch, length, self.heads, -1).transpose(1, 2)
        k_nope, v = kv.split([c.qk_nope_head_dim, c.v_head_dim], dim=-1)
        cos, sin = rope.tables(positions, c.qk_rope_head_dim, c.rope_theta, c.rope_scaling)
        q_rope = rope.rotate(q_rope, cos, sin, interleaved=True)
        k_rope = rope.rotate(k_rope.unsqueeze(1), cos, sin, interleaved=True)
        q = torch.cat([q_nope, q_rope], dim=-1)
        k = torch.cat([k_nope, k_rope.expand(-1, self.heads, -1, -1)], dim=-1)
        return self.mix(q, k, v, cache, mask, self.scale)


class PlainAttention(Attention):
    def __init__(self, config: LanguageConfig, layer: int):
        super().__init__(config, layer)
        width, bias = config.hidden_size, config.attention_bias
        self.dim = width // self.heads
        self.kv_heads = config.num_key_value_heads
        self.q_proj = nn.Linear(width, width, bias=bias)
        self.k_proj = nn.Linear(width, self.kv_heads * self.dim, bias=bias)
        self.v_proj = nn.Linear(width, self.kv_heads * self.dim, bias=bias)
        self.o_proj = nn.Linear(width, width, bias=bias)

    def forward(self, x, positions, cache, mask):
        c, (batch, length, _) = self.config, x.shape
        q, k, v = (layer(x).view(batch, length, -1, self.dim).transpose(1, 2)
                   for layer in (self.q_proj, self.k_proj, self.v_proj))
        cos, sin = rope.tables(positions, self.dim, c.rope_theta, c.rope_scaling)
        q, k = (rope.rotate(part, cos, sin, interleaved=False) for part in (q, k))
        repeat = self.heads // self.kv_heads
        k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
        return self.mix(q, k, v, cache, mask, self.dim ** -0.5)


class DecoderLayer(nn.Module):
    def __init__(self, config: LanguageConfig, layer: int):
        super().__init__()
        attention = LatentAttention if config.use_mla else PlainAttention
        self.self_attn = attention(config, layer)
        self.mlp = (Mixture(config) if config.is_moe(layer)
                    else SwiGlu(config.hidden_size, config.intermediate_size))
        self.input_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x, positions, cache, mask):
        x = x + self.self_attn(self.input_layernorm(x), positions, cache, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Vocabulary(nn.Module):
    """A [vocab, width] table whose number rows may be made from shared factors."""

    def __init__(self, size: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(size, width) * 0.02)
        self.features = None

    def share_numbers(self, ids: list[int], features: torch.Tensor):
        """From now on the rows `ids` are features @ factors, fitted to the present rows."""
        rows = self.weight.detach()[ids]
        solution = torch.linalg.lstsq(features, rows).solution
        self.factors = nn.Parameter(solution)
        full = torch.zeros(len(self.weight), features.shape[1])
        full[ids] = features
        self.features = full
        self.keep = torch.ones(len(self.weight), 1)
        self.keep[ids] = 0

    def matrix(self) -> torch.Tensor:
        if self.features is None:
            return self.weight
        return self.weight * self.keep + self.features @ self.factors


class LanguageModel(nn.Module):
    def __init__(self, config: LanguageConfig):
        super().__init__()
        self.config = config
        self.embed_tokens = Vocabulary(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            DecoderLayer(config, index) for index in range(config.num_hidden_layers))
        self.norm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        if not config.tie_word_embeddings:
            self.lm_head = Vocabulary(config.vocab_size, config.hidden_size)

    def embed(self, ids):
        return F.embedding(ids, self.embed_tokens.matrix())

    def forward(self, x, positions=None, cache=None, mask=None, upto=None):
        """Returns the final normed hidden states, or those after `upto` layers."""
        if positions is None:
            positions = torch.arange(x.shape[1]).unsqueeze(0)
        for layer in self.layers[:upto]:
            x = layer(x, positions, cache, mask)
        return self.norm(x) if upto is None else x

    def logits(self, hidden):
        head = self.embed_tokens if self.config.tie_word_embeddings else self.lm_head
        return F.linear(hidden, head.matrix()).float()

    def balance_loss(self):
        return sum(layer.mlp.balance for layer in self.layers if isinstance(layer.mlp, Mixture))
