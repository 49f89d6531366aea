"""What both denoisers are made of. Shapes: see `denoiser`; `h` heads, `D` = E / h, `R` rows.

Where there is a memory, its rows are normed, brought to the hidden size, told their place, and then seen as observations are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.core.errors import InputError
from robotics.policy.denoiser import DenoiserConfig

UNITS = 3
"""A layer's: self-attention, cross-attention, feed-forward network."""


class Resting(NamedTuple):
    """What a step that computes no unit needs, looked up once and not at each: `base` holds all that is added to the product of
    actions and `weight`, [B, H, E] and [B, A, E]; then the head's.
    """

    base: Tensor
    weight: Tensor
    head_weight: Tensor
    head_bias: Tensor


class Branches(nn.Module):
    """The matrices of a layer's three branches."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        size, inner = config.hidden, config.hidden * config.feed_ratio
        self.qkv, self.self_out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.q, self.kv, self.cross_out = nn.Linear(size, size), nn.Linear(size, 2 * size), nn.Linear(size, size)
        self.up, self.down = nn.Linear(size, inner), nn.Linear(inner, size)


class ActionNetwork(nn.Module):
    """Noisy actions into rows of the hidden size, and what all units have in common."""

    tokens: int
    """That cross-attention looks at."""
    head: nn.Linear

    def __init__(self, config: DenoiserConfig) -> None:
        """Raises InputError for a hidden size that the heads do not divide evenly."""
        super().__init__()
        size = config.hidden
        if size % (2 * config.heads):
            raise InputError(f"hidden {size}: must be a multiple of twice the {config.heads} heads; choose another size")
        self.config = config
        self.action_in, self.observation_in = nn.Linear(config.action_size, size), nn.Linear(config.observation_size, size)
        self.action_place = nn.Parameter(torch.zeros(config.horizon, size))
        self.seen = config.observation_steps + config.memory_rows
        if config.memory_rows:
            self.memory_norm, self.memory_in = nn.LayerNorm(config.memory_size), nn.Linear(config.memory_size, size)
            self.memory_place = nn.Parameter(torch.zeros(config.memory_rows, size))

    def initialise(self, *places: nn.Parameter) -> None:
        """Weights of N(0, 0.02), biases of zero, as in Diffusion Policy; `places` beside those of the actions."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        for place in (self.action_place, *places, *([self.memory_place] if self.config.memory_rows else [])):
            nn.init.normal_(place, std=0.02)

    def observed(self, observations: Tensor, place: Tensor, memory: Tensor | None) -> Tensor:
        """[B, O, F] and [B, M, W] -> [B, O + M, E], not yet encoded."""
        seen = self.observation_in(observations) + place
        if memory is None:
            return seen
        return torch.cat([seen, self.memory_in(self.memory_norm(memory)) + self.memory_place], dim=1)

    @property
    def units(self) -> int:
        return UNITS * self.config.layers

    def embedded(self, actions: Tensor) -> Tensor:
        """[B, H, A] -> [B, H, E]."""
        return self.dropped(self.action_in(actions) + self.action_place)

    def base(self, added: Tensor) -> Resting:
        weight = self.action_in.weight.T.expand(len(added), -1, -1)
        return Resting(added + (self.action_place + self.action_in.bias), weight, self.head.weight, self.head.bias)

    def flops(self, number: int, rows: int | None = None) -> int:
        c = self.config
        some, whole = 2 * c.hidden * (c.horizon if rows is None else rows), 2 * c.hidden * c.horizon
        if number % UNITS == 0:
            return whole * 3 * c.hidden + some * (c.hidden + 2 * c.horizon)  # every row's query, key and value
        if number % UNITS == 1:
            return some * (2 * c.hidden + 2 * self.tokens)
        return some * 2 * c.feed_ratio * c.hidden

    def flops_around(self) -> int:
        c = self.config
        return 2 * c.horizon * c.hidden * 2 * c.action_size

    def split(self, x: Tensor) -> Tensor:
        """[..., R, n E] -> [..., n h, R, D]: heads of queries, then of keys, then of values."""
        return x.unflatten(-1, (-1, self.config.hidden // self.config.heads)).transpose(-2, -3)

    def attended(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """[..., h, R, D] -> [..., R, E]. mask: bool [R, rows of k], True where a row sees another."""
        dropout = self.config.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout).transpose(-2, -3).flatten(-2)

    def dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.config.dropout, training=True) if self.training else x


def wave(times: Tensor, size: int) -> Tensor:
    """Sinusoidal embedding of times [...], [..., size]: sines, then cosines."""
    half = size // 2
    rates = torch.exp(torch.arange(half, device=times.device) * (-math.log(10000) / (half - 1)))
    angles = times[..., None].float() * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
