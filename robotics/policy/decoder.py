"""The transformer diffusion policy (Chi et al., arXiv 2303.04137, section 3.1; `TransformerForDiffusion` of its code).

Action tokens attend to themselves causally and to condition tokens: the step's time and the observations; an action sees the time
and the observations up to its own index. Pre-norm layers with GELU. Since time enters as a token of its own and the condition
encoder works on every token alone, keys and values of all observations and all steps are products of small matrices that are made
once a query: exactly what the stock forward computes at every step anew. Slow twin: `torch.nn.TransformerDecoder`, in the tests.
Shapes: see `denoiser`; `N` = 1 + O condition tokens, `h` heads, `D` = E / h.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.core.errors import InputError
from robotics.policy.denoiser import DenoiserConfig

UNITS = 3
"""A layer's: self-attention, cross-attention, feed-forward network."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Keys and values of the condition tokens, by layer: [S, B, h, N, D] each."""

    keys: list[Tensor]
    values: list[Tensor]


class Layer(nn.Module):
    """The weights of three residual branches."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        size, inner = config.hidden, config.hidden * config.feed_ratio
        self.norm_self, self.norm_cross, self.norm_feed = (nn.LayerNorm(size) for _ in range(UNITS))
        self.qkv, self.self_out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.q, self.kv, self.cross_out = nn.Linear(size, size), nn.Linear(size, 2 * size), nn.Linear(size, size)
        self.up, self.down = nn.Linear(size, inner), nn.Linear(inner, size)


class ActionDecoder(nn.Module):
    """A `Denoiser`."""

    causal: Tensor
    sees: Tensor

    def __init__(self, config: DenoiserConfig) -> None:
        """Raises InputError for a hidden size that the heads do not divide evenly."""
        super().__init__()
        size = config.hidden
        if size % (2 * config.heads):
            raise InputError(f"hidden {size}: must be a multiple of twice the {config.heads} heads; choose another size")
        self.config = config
        self.action_in, self.observation_in = nn.Linear(config.action_size, size), nn.Linear(config.observation_size, size)
        self.action_place = nn.Parameter(torch.zeros(config.horizon, size))
        self.condition_place = nn.Parameter(torch.zeros(1 + config.observation_steps, size))
        self.encode_up, self.encode_down = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)
        self._layers = [Layer(config) for _ in range(config.layers)]
        self.layers = nn.ModuleList(self._layers)
        self.norm, self.head = nn.LayerNorm(size), nn.Linear(size, config.action_size)
        rows = torch.arange(config.horizon)[:, None]
        self.register_buffer("causal", rows >= rows.T, persistent=False)
        self.register_buffer("sees", rows >= torch.arange(1 + config.observation_steps)[None] - 1, persistent=False)
        self.apply(_initial)
        for place in (self.action_place, self.condition_place):
            nn.init.normal_(place, std=0.02)

    @property
    def units(self) -> int:
        return UNITS * len(self._layers)

    def clock(self, times: Tensor) -> list[Tensor]:
        """Keys and values of the time tokens, by layer: [S, 1 or B, 2 E]."""
        token = self._encoded(_wave(times, self.config.hidden).to(self.head.weight.dtype) + self.condition_place[0])
        return [layer.kv(token) for layer in self._layers]

    def condition(self, observations: Tensor, clock: list[Tensor]) -> Tokens:
        seen = self._encoded(self.observation_in(observations) + self.condition_place[1:])  # [B, O, E]
        keys, values = [], []
        for layer, at_time in zip(self._layers, clock, strict=True):
            at_time = at_time.unsqueeze(2).expand(-1, len(seen), -1, -1)
            both = torch.cat([at_time, layer.kv(seen).expand(len(at_time), -1, -1, -1)], dim=2)
            k, v = self._split(both).chunk(2, dim=-3)
            keys.append(k)
            values.append(v)
        return Tokens(keys, values)

    def start(self, actions: Tensor, condition: Tokens, step: int) -> Tensor:
        return self._dropped(self.action_in(actions) + self.action_place)

    def unit(self, number: int, h: Tensor, condition: Tokens, step: int) -> Tensor:
        index, kind = divmod(number, UNITS)
        layer = self._layers[index]
        if kind == 0:
            q, k, v = self._split(layer.qkv(layer.norm_self(h))).chunk(3, dim=-3)
            out = layer.self_out(self._attended(q, k, v, self.causal))
        elif kind == 1:
            q = self._split(layer.q(layer.norm_cross(h)))
            out = layer.cross_out(self._attended(q, condition.keys[index][step], condition.values[index][step], self.sees))
        else:
            out = layer.down(self._dropped(F.gelu(layer.up(layer.norm_feed(h)))))
        return self._dropped(out)

    def finish(self, h: Tensor, condition: Tokens, step: int) -> Tensor:
        return self.head(self.norm(h))

    def flops(self, number: int) -> int:
        c = self.config
        row = 2 * c.horizon * c.hidden
        if number % UNITS == 0:
            return row * (4 * c.hidden + 2 * c.horizon)
        if number % UNITS == 1:
            return row * (2 * c.hidden + 2 * (1 + c.observation_steps))
        return row * 2 * c.feed_ratio * c.hidden

    def flops_around(self) -> int:
        c = self.config
        return 2 * c.horizon * c.hidden * 2 * c.action_size

    def _encoded(self, tokens: Tensor) -> Tensor:
        return self.encode_down(F.mish(self.encode_up(self._dropped(tokens))))

    def _split(self, x: Tensor) -> Tensor:
        """[..., R, n E] -> [..., n h, R, D]: heads of queries, then of keys, then of values."""
        return x.unflatten(-1, (-1, self.config.hidden // self.config.heads)).transpose(-2, -3)

    def _attended(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        dropout = self.config.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout).transpose(-2, -3).flatten(-2)

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.config.dropout, training=True) if self.training else x


def _wave(times: Tensor, size: int) -> Tensor:
    """Sinusoidal embedding, [..., size]: sines, then cosines."""
    half = size // 2
    rates = torch.exp(torch.arange(half, device=times.device) * (-math.log(10000) / (half - 1)))
    angles = times[..., None].float() * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def _initial(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
