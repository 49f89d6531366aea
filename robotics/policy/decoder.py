"""The transformer diffusion policy (Chi et al., arXiv 2303.04137, section 3.1; `TransformerForDiffusion` of its code).

Action tokens attend to themselves causally and to condition tokens: the step's time and the observations; an action sees the time
and the observations up to its own index. Pre-norm layers with GELU. Since time enters as a token of its own and the condition
encoder works on every token alone, keys and values of all observations and all steps are products of small matrices that are made
once a query: exactly what the stock forward computes at every step anew. Slow twin: `torch.nn.TransformerDecoder`, in the tests.
Shapes: see `denoiser`; `N` = 1 + O condition tokens, `h` heads, `D` = E / h.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.core.errors import InputError
from robotics.policy.attention import attended, initial, split, wave
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
        self.apply(initial)
        for place in (self.action_place, self.condition_place):
            nn.init.normal_(place, std=0.02)

    @property
    def units(self) -> int:
        return UNITS * len(self._layers)

    def clock(self, times: Tensor) -> list[Tensor]:
        """Keys and values of the time tokens, by layer: [S, 1 or B, 2 E]."""
        token = self._encoded(wave(times, self.config.hidden).to(self.head.weight.dtype) + self.condition_place[0])
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

    def spread(self, condition: Tokens, count: int) -> Tokens:
        return Tokens(*([x.expand(-1, count, -1, -1, -1) for x in part] for part in (condition.keys, condition.values)))

    def start(self, actions: Tensor, condition: Tokens, step: int) -> Tensor:
        return self._dropped(self.action_in(actions) + self.action_place)

    def unit(self, number: int, h: Tensor, condition: Tokens, step: int, rows: Tensor | None = None) -> Tensor:
        index, kind = divmod(number, UNITS)
        layer = self._layers[index]
        if kind == 0:
            q, k, v = self._split(layer.qkv(layer.norm_self(h))).chunk(3, dim=-3)
            q, mask = (q, self.causal) if rows is None else (q[..., rows, :], self.causal[rows])
            out = layer.self_out(self._attended(q, k, v, mask))
        elif kind == 1:
            h, mask = (h, self.sees) if rows is None else (h[:, rows], self.sees[rows])
            q = self._split(layer.q(layer.norm_cross(h)))
            out = layer.cross_out(self._attended(q, condition.keys[index][step], condition.values[index][step], mask))
        else:
            h = h if rows is None else h[:, rows]
            out = layer.down(self._dropped(F.gelu(layer.up(layer.norm_feed(h)))))
        return self._dropped(out)

    def finish(self, h: Tensor, condition: Tokens, step: int) -> Tensor:
        return self.head(self.norm(h))

    def resting(self, added: Tensor) -> Tensor:
        return added + (self.action_place + self.action_in.bias)

    def rest(self, actions: Tensor, resting: Tensor, condition: Tokens, step: int) -> Tensor:
        h = torch.baddbmm(resting, actions, self.action_in.weight.T.expand(len(actions), -1, -1))
        norm = self.norm
        return self.head(torch.layer_norm(h, norm.normalized_shape, norm.weight, norm.bias, norm.eps))

    def flops(self, number: int, rows: int | None = None) -> int:
        c = self.config
        some, whole = 2 * c.hidden * (c.horizon if rows is None else rows), 2 * c.hidden * c.horizon
        if number % UNITS == 0:
            return whole * 3 * c.hidden + some * (c.hidden + 2 * c.horizon)  # every row's query, key and value
        if number % UNITS == 1:
            return some * (2 * c.hidden + 2 * (1 + c.observation_steps))
        return some * 2 * c.feed_ratio * c.hidden

    def flops_around(self) -> int:
        c = self.config
        return 2 * c.horizon * c.hidden * 2 * c.action_size

    def _encoded(self, tokens: Tensor) -> Tensor:
        return self.encode_down(F.mish(self.encode_up(self._dropped(tokens))))

    def _split(self, x: Tensor) -> Tensor:
        return split(x, self.config.hidden // self.config.heads)

    def _attended(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        return attended(q, k, v, mask, self.config.dropout if self.training else 0.0)

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.config.dropout, training=True) if self.training else x
