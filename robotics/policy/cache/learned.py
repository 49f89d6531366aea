"""HarmoniCa: a learned router says which unit is computed at which step (arXiv 2410.01723). The one cache here that is trained.

As there, a whole trajectory is unrolled with the cache in place, and what is made small is the distance of its end from that of the
uncached one with the same noise. Where the paper weighs evaluations against distance, here a number of them is given: the largest
logits are computed, forward by that choice and backward through the sigmoid (a straight-through estimate).
Shapes: `T` steps, `U` units.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from edge.core.errors import InputError
from robotics.policy.cache.scheduled import ScheduledCache
from robotics.policy.denoiser import Denoiser
from robotics.policy.evaluation import Account, Evaluation
from robotics.policy.policy import DiffusionPolicy
from robotics.policy.types import Queries

STEPS, BATCH, RATE = 150, 8, 0.1


class _Routed:
    """Units computed at all steps, taken or not by a gate that gradients pass through. gates: [T, U]."""

    def __init__(self, gates: Tensor) -> None:
        self.gates = gates

    def begin(self, denoiser: Denoiser, steps: int) -> None:
        self._kept: list[Tensor] = []

    def evaluate(self, evaluation: Evaluation) -> Tensor:
        h, step = evaluation.start(), evaluation.step
        for u in range(evaluation.denoiser.units):
            out = evaluation.unit(u, h)
            if step == 0:
                self._kept.append(out)
            else:
                self._kept[u] = torch.lerp(self._kept[u], out, self.gates[step, u])
            h = h + self._kept[u]
        return evaluation.finish(h)


def fit(
    policy: DiffusionPolicy,
    queries: Queries,
    budget: int,
    *,
    steps: int = STEPS,
    seed: int = 0,
    told: Callable[[int, float], None] | None = None,
) -> ScheduledCache:
    """A schedule of `budget` refreshes a unit on average, for the policy's own sampler, trained on queries.

    told: called after every training step with its number and the distance. Raises InputError for a budget outside 1 .. T.
    """
    count, units = len(policy.sampler), policy.denoiser.units
    if not 1 <= budget <= count:
        raise InputError(f"budget {budget}: refreshes are counted from 1 to the {count} denoising steps; choose one of these")
    generator = torch.Generator().manual_seed(seed)
    even = torch.zeros(count, units)
    even[[i * count // budget for i in range(budget)]] = 1.0  # it begins with the uniform schedule
    logits = (even - 0.5 + 0.02 * torch.randn(count, units, generator=generator)).requires_grad_()
    optimiser = torch.optim.Adam([logits], RATE)
    best, found = float("inf"), _chosen(logits, budget)
    for n in range(steps):
        rows = torch.randint(len(queries), (BATCH,), generator=generator)
        noise = policy.noise(BATCH, generator)
        with torch.no_grad():
            condition = policy.condition(queries[rows])
            end = _end(policy, condition, noise, torch.ones(count, units))
        hard, soft = _chosen(logits, budget), torch.sigmoid(logits)
        distance = (_end(policy, condition, noise, hard + soft - soft.detach()) - end).square().mean()
        (logits.grad,) = torch.autograd.grad(distance, logits)
        reached = float(distance.detach())
        if reached < best:
            best, found = reached, hard
        optimiser.step()
        if told:
            told(n + 1, reached)
    return ScheduledCache([torch.nonzero(found[:, u]).flatten().tolist() for u in range(units)], count)


def _end(policy: DiffusionPolicy, condition: object, noise: Tensor, gates: Tensor) -> Tensor:
    routed, account = _Routed(gates), Account()
    routed.begin(policy.denoiser, len(gates))
    return policy.sampler.run(lambda i, x: routed.evaluate(Evaluation(policy.denoiser, x, condition, i, account)), noise)


def _chosen(logits: Tensor, budget: int) -> Tensor:
    """[T, U], 1 for step 0 and the largest others, budget x U in all."""
    count, units = logits.shape
    with torch.no_grad():
        later = logits[1:].flatten()
        out = torch.zeros_like(later)
        out[later.topk((budget - 1) * units).indices] = 1.0
        return torch.cat([torch.ones(1, units), out.view(count - 1, units)])
