"""The transformer diffusion policy (Chi et al., arXiv 2303.04137, section 3.1; `TransformerForDiffusion` of its code).

Action tokens attend to themselves causally and to condition tokens: the step's time and the observations; an action sees the time
and the observations up to its own index. Pre-norm layers with GELU. Since time enters as a token of its own and the condition
encoder works on every token alone, keys and values of all observations and all steps are products of small matrices that are made
once a query: exactly what the stock forward computes at every step anew. Slow twin: `torch.nn.TransformerDecoder`, in the tests.
Shapes: see `denoiser`; `N` = 1 + O condition tokens, `h` heads, `D` = E / h.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robotics.policy.denoiser import DenoiserConfig
from robotics.policy.network import UNITS, ActionNetwork, Branches, Resting, wave


@dataclass(frozen=True, slots=True)
class Tokens:
    """Keys and values of the condition tokens, by layer: [S, B, h, N, D] each."""

    keys: list[Tensor]
    values: list[Tensor]


class Layer(Branches):
    """Three residual branches, each with a norm before it."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__(config)
        self.norm_self, self.norm_cross, self.norm_feed = (nn.LayerNorm(config.hidden) for _ in range(UNITS))


class ActionDecoder(ActionNetwork):
    """A `Denoiser`."""

    causal: Tensor
    sees: Tensor

    def __init__(self, config: DenoiserConfig) -> None:
        """Raises InputError for a hidden size that the heads do not divide evenly."""
        super().__init__(config)
        size = config.hidden
        self.tokens = 1 + self.seen
        self.condition_place = nn.Parameter(torch.zeros(1 + config.observation_steps, size))
        self.encode_up, self.encode_down = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)
        self._layers = [Layer(config) for _ in range(config.layers)]
        self.layers = nn.ModuleList(self._layers)
        self.norm, self.head = nn.LayerNorm(size), nn.Linear(size, config.action_size)
        rows = torch.arange(config.horizon)[:, None]
        self.register_buffer("causal", rows >= rows.T, persistent=False)
        memory = torch.ones(config.horizon, config.memory_rows, dtype=torch.bool)  # is of now: all actions see it
        sees = torch.cat([rows >= torch.arange(1 + config.observation_steps)[None] - 1, memory], dim=1)
        self.register_buffer("sees", sees, persistent=False)
        self.initialise(self.condition_place)

    def clock(self, times: Tensor) -> list[Tensor]:
        """Keys and values of the time tokens, by layer: [S, 1 or B, 2 E]."""
        token = self._encoded(wave(times, self.config.hidden).to(self.head.weight.dtype) + self.condition_place[0])
        return [layer.kv(token) for layer in self._layers]

    def condition(self, observations: Tensor, clock: list[Tensor], memory: Tensor | None = None) -> Tokens:
        seen = self._encoded(self.observed(observations, self.condition_place[1:], memory))  # [B, O + M, E]
        keys, values = [], []
        for layer, at_time in zip(self._layers, clock, strict=True):
            at_time = at_time.unsqueeze(2).expand(-1, len(seen), -1, -1)
            both = torch.cat([at_time, layer.kv(seen).expand(len(at_time), -1, -1, -1)], dim=2)
            k, v = self.split(both).chunk(2, dim=-3)
            keys.append(k)
            values.append(v)
        return Tokens(keys, values)

    def spread(self, condition: Tokens, count: int) -> Tokens:
        return Tokens(*([x.expand(-1, count, -1, -1, -1) for x in part] for part in (condition.keys, condition.values)))

    def start(self, actions: Tensor, condition: Tokens, step: int) -> Tensor:
        return self.embedded(actions)

    def unit(self, number: int, h: Tensor, condition: Tokens, step: int, rows: Tensor | None = None) -> Tensor:
        index, kind = divmod(number, UNITS)
        layer = self._layers[index]
        if kind == 0:
            q, k, v = self.split(layer.qkv(layer.norm_self(h))).chunk(3, dim=-3)
            q, mask = (q, self.causal) if rows is None else (q[..., rows, :], self.causal[rows])
            out = layer.self_out(self.attended(q, k, v, mask))
        elif kind == 1:
            h, mask = (h, self.sees) if rows is None else (h[:, rows], self.sees[rows])
            q = self.split(layer.q(layer.norm_cross(h)))
            out = layer.cross_out(self.attended(q, condition.keys[index][step], condition.values[index][step], mask))
        else:
            h = h if rows is None else h[:, rows]
            out = layer.down(self.dropped(F.gelu(layer.up(layer.norm_feed(h)))))
        return self.dropped(out)

    def finish(self, h: Tensor, condition: Tokens, step: int) -> Tensor:
        return self.head(self.norm(h))

    def resting(self, added: Tensor) -> tuple[Resting, Any]:
        norm = self.norm
        return self.base(added), (norm.normalized_shape, norm.weight, norm.bias, norm.eps)

    def rest(self, actions: Tensor, resting: tuple[Resting, Any], condition: Tokens, step: int) -> Tensor:
        (base, weight, head_weight, head_bias), norm = resting
        return F.linear(torch.layer_norm(torch.baddbmm(base, actions, weight), *norm), head_weight, head_bias)

    def _encoded(self, tokens: Tensor) -> Tensor:
        return self.encode_down(F.mish(self.encode_up(self.dropped(tokens))))
