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

from robotics.policy.denoiser import DenoiserConfig
from robotics.policy.network import UNITS, ActionNetwork, Branches, Resting, wave

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


class Layer(Branches):
    """Three branches, and what time does to them."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__(config)
        self.time = nn.Linear(config.hidden, UNITS * NUMBERS * config.hidden)


class ActionDiT(ActionNetwork):
    """A `Denoiser`."""

    def __init__(self, config: DenoiserConfig) -> None:
        """Raises InputError for a hidden size that the heads do not divide evenly."""
        super().__init__(config)
        size = config.hidden
        self.tokens = self.seen
        self.observation_place = nn.Parameter(torch.zeros(config.observation_steps, size))
        self.observation_up, self.observation_down = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)
        self.time_up, self.time_down = nn.Linear(size, size), nn.Linear(size, size)
        self._layers = [Layer(config) for _ in range(config.layers)]
        self.layers = nn.ModuleList(self._layers)
        self.head_time, self.head = nn.Linear(size, 2 * size), nn.Linear(size, config.action_size)
        self.initialise(self.observation_place)
        for linear in [*(layer.time for layer in self._layers), self.head_time, self.head]:
            nn.init.zeros_(linear.weight)

    def clock(self, times: Tensor) -> Table:
        at = wave(times, self.config.hidden).to(self.head.weight.dtype)
        at = F.silu(self.time_down(F.silu(self.time_up(at))))  # [S, 1 or B, E]
        units = []
        for layer in self._layers:
            numbers = layer.time(at).unsqueeze(-2).chunk(UNITS * NUMBERS, dim=-1)
            units += [(n[0], 1 + n[1], n[2]) for n in (numbers[i : i + NUMBERS] for i in range(0, len(numbers), NUMBERS))]
        shift, scale = self.head_time(at).unsqueeze(-2).chunk(2, dim=-1)
        return Table(units, (shift, 1 + scale))

    def condition(self, observations: Tensor, clock: Table, memory: Tensor | None = None) -> Seen:
        seen = self.dropped(self.observed(observations, self.observation_place, memory))
        seen = self.observation_down(F.mish(self.observation_up(seen)))  # [B, O + M, E]
        pairs = [self.split(layer.kv(seen)).chunk(2, dim=-3) for layer in self._layers]
        return Seen(clock, [k for k, _ in pairs], [v for _, v in pairs])

    def spread(self, condition: Seen, count: int) -> Seen:
        keys, values = ([x.expand(count, -1, -1, -1) for x in part] for part in (condition.keys, condition.values))
        return Seen(condition.table, keys, values)

    def start(self, actions: Tensor, condition: Seen, step: int) -> Tensor:
        return self.embedded(actions)

    def unit(self, number: int, h: Tensor, condition: Seen, step: int, rows: Tensor | None = None) -> Tensor:
        index, kind = divmod(number, UNITS)
        layer, (shift, scale, gate) = self._layers[index], condition.table.units[number]
        if rows is not None and kind:
            h = h[:, rows]
        x = torch.addcmul(shift[step], F.layer_norm(h, h.shape[-1:]), scale[step])
        if kind == 0:
            q, k, v = self.split(layer.qkv(x)).chunk(3, dim=-3)
            q = q if rows is None else q[..., rows, :]
            out = layer.self_out(self.attended(q, k, v))
        elif kind == 1:
            q = self.split(layer.q(x))
            out = layer.cross_out(self.attended(q, condition.keys[index], condition.values[index]))
        else:
            out = layer.down(self.dropped(F.gelu(layer.up(x))))
        return self.dropped(out) * gate[step]

    def finish(self, h: Tensor, condition: Seen, step: int) -> Tensor:
        shift, scale = condition.table.head
        return self.head(torch.addcmul(shift[step], F.layer_norm(h, h.shape[-1:]), scale[step]))

    def resting(self, added: Tensor) -> Resting:
        return self.base(added)

    def rest(self, actions: Tensor, resting: Resting, condition: Seen, step: int) -> Tensor:
        base, weight, head_weight, head_bias = resting
        shift, scale = condition.table.head
        h = torch.layer_norm(torch.baddbmm(base, actions, weight), base.shape[-1:])
        return F.linear(torch.addcmul(shift[step], h, scale[step]), head_weight, head_bias)
