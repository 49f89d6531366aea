"""A diffusion transformer over action tokens, for flow matching (DiT, arXiv 2212.09748, section 3.2, adaLN-Zero).

Action tokens attend to each other, all of them, and to the observations; time shifts, scales and gates every branch. What time does
is a table made once for a sampler, keys and values of the observations are made once for a query, so that a step costs its branches
and nothing else. A gate is zero before training: every unit then adds nothing, and the network is what its head says.
Shapes: see `denoiser`.
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
NUMBERS = 3
"""Of a branch, for each feature: shift, scale, gate."""


@dataclass(frozen=True, slots=True)
class Table:
    """What time does: [S, 1 or B, 1, E] each; shift, scale and gate of every unit, then shift and scale of the head."""

    units: list[tuple[Tensor, Tensor, Tensor]]
    head: tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Seen:
    """A table, and keys and values of the observations, by layer: [B, h, O, D] each."""

    table: Table
    keys: list[Tensor]
    values: list[Tensor]


class Layer(nn.Module):
    """The weights of three branches."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        size, inner = config.hidden, config.hidden * config.feed_ratio
        self.qkv, self.self_out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.q, self.kv, self.cross_out = nn.Linear(size, size), nn.Linear(size, 2 * size), nn.Linear(size, size)
        self.up, self.down = nn.Linear(size, inner), nn.Linear(inner, size)
        self.time = nn.Linear(size, UNITS * NUMBERS * size)


class ActionDiT(nn.Module):
    """A `Denoiser`."""

    def __init__(self, config: DenoiserConfig) -> None:
        """Raises InputError for a hidden size that the heads do not divide evenly."""
        super().__init__()
        size = config.hidden
        if size % (2 * config.heads):
            raise InputError(f"hidden {size}: must be a multiple of twice the {config.heads} heads; choose another size")
        self.config = config
        self.action_in, self.observation_in = nn.Linear(config.action_size, size), nn.Linear(config.observation_size, size)
        self.action_place = nn.Parameter(torch.zeros(config.horizon, size))
        self.observation_place = nn.Parameter(torch.zeros(config.observation_steps, size))
        self.observation_up, self.observation_down = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)
        self.time_up, self.time_down = nn.Linear(size, size), nn.Linear(size, size)
        self._layers = [Layer(config) for _ in range(config.layers)]
        self.layers = nn.ModuleList(self._layers)
        self.head_time, self.head = nn.Linear(size, 2 * size), nn.Linear(size, config.action_size)
        self.apply(initial)
        for place in (self.action_place, self.observation_place):
            nn.init.normal_(place, std=0.02)
        for linear in [*(layer.time for layer in self._layers), self.head_time, self.head]:
            nn.init.zeros_(linear.weight)

    @property
    def units(self) -> int:
        return UNITS * len(self._layers)

    def clock(self, times: Tensor) -> Table:
        at = wave(times, self.config.hidden).to(self.head.weight.dtype)
        at = F.silu(self.time_down(F.silu(self.time_up(at))))  # [S, 1 or B, E]
        units = []
        for layer in self._layers:
            numbers = layer.time(at).unsqueeze(-2).chunk(UNITS * NUMBERS, dim=-1)
            units += [(n[0], 1 + n[1], n[2]) for n in (numbers[i : i + NUMBERS] for i in range(0, len(numbers), NUMBERS))]
        shift, scale = self.head_time(at).unsqueeze(-2).chunk(2, dim=-1)
        return Table(units, (shift, 1 + scale))

    def condition(self, observations: Tensor, clock: Table) -> Seen:
        seen = self._dropped(self.observation_in(observations) + self.observation_place)
        seen = self.observation_down(F.mish(self.observation_up(seen)))  # [B, O, E]
        pairs = [split(layer.kv(seen), self._head).chunk(2, dim=-3) for layer in self._layers]
        return Seen(clock, [k for k, _ in pairs], [v for _, v in pairs])

    def spread(self, condition: Seen, count: int) -> Seen:
        keys, values = ([x.expand(count, -1, -1, -1) for x in part] for part in (condition.keys, condition.values))
        return Seen(condition.table, keys, values)

    def start(self, actions: Tensor, condition: Seen, step: int) -> Tensor:
        return self._dropped(self.action_in(actions) + self.action_place)

    def unit(self, number: int, h: Tensor, condition: Seen, step: int, rows: Tensor | None = None) -> Tensor:
        index, kind = divmod(number, UNITS)
        layer, (shift, scale, gate) = self._layers[index], condition.table.units[number]
        if rows is not None and kind:
            h = h[:, rows]
        x = torch.addcmul(shift[step], F.layer_norm(h, h.shape[-1:]), scale[step])
        dropout = self.config.dropout if self.training else 0.0
        if kind == 0:
            q, k, v = split(layer.qkv(x), self._head).chunk(3, dim=-3)
            q = q if rows is None else q[..., rows, :]
            out = layer.self_out(attended(q, k, v, None, dropout))
        elif kind == 1:
            q = split(layer.q(x), self._head)
            out = layer.cross_out(attended(q, condition.keys[index], condition.values[index], None, dropout))
        else:
            out = layer.down(self._dropped(F.gelu(layer.up(x))))
        return self._dropped(out) * gate[step]

    def finish(self, h: Tensor, condition: Seen, step: int) -> Tensor:
        shift, scale = condition.table.head
        return self.head(torch.addcmul(shift[step], F.layer_norm(h, h.shape[-1:]), scale[step]))

    def resting(self, added: Tensor) -> Tensor:
        return added + (self.action_place + self.action_in.bias)

    def rest(self, actions: Tensor, resting: Tensor, condition: Seen, step: int) -> Tensor:
        h = torch.baddbmm(resting, actions, self.action_in.weight.T.expand(len(actions), -1, -1))
        return self.finish(h, condition, step)

    def flops(self, number: int, rows: int | None = None) -> int:
        c = self.config
        some, whole = 2 * c.hidden * (c.horizon if rows is None else rows), 2 * c.hidden * c.horizon
        if number % UNITS == 0:
            return whole * 3 * c.hidden + some * (c.hidden + 2 * c.horizon)  # every row's query, key and value
        if number % UNITS == 1:
            return some * (2 * c.hidden + 2 * c.observation_steps)
        return some * 2 * c.feed_ratio * c.hidden

    def flops_around(self) -> int:
        c = self.config
        return 2 * c.horizon * c.hidden * 2 * c.action_size

    @property
    def _head(self) -> int:
        return self.config.hidden // self.config.heads

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.config.dropout, training=True) if self.training else x
