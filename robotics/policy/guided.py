"""A chunk that goes on from the one before it, though it was asked for while that one was still being executed.

Two ways to say what is known of the new chunk. `inpainted`: known actions are put, with the noise of each step, in place of the
sampler's own. `guided`: the sampler is pulled towards them, hard where they will have been executed by the time the chunk comes and
softer behind (real-time chunking, arXiv 2506.07339, algorithm 1; the pull is that of pseudo-inverse guidance, 2302.04222): at
time t from noise to actions

    v <- v + min(limit, (1 - t) / (t r^2)) J^T diag(w) (known - clean),   r^2 = (1 - t)^2 / (t^2 + (1 - t)^2)

with J the Jacobian of the clean actions. A step that is pulled needs the network's gradient, so no feature cache takes part in it.
Shapes: see `policy`; `K` actions from the robot's now on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from edge.core.errors import InputError
from robotics.policy.cache.base import NoCache
from robotics.policy.evaluation import Evaluation
from robotics.policy.policy import DiffusionPolicy
from robotics.policy.samplers import FLOW_SCALE
from robotics.policy.types import Queries

LIMIT = 5.0
"""Of the pull (the paper's beta)."""


@dataclass(frozen=True, slots=True)
class Known:
    """actions: [K, A], in the robot's units, from the step on that the observation belongs to; weights: [K] from 0 to 1, how well
    each is known. Actions of weight 0 count for nothing.
    """

    actions: Tensor
    weights: Tensor


def soft_weights(known: int, delay: int, total: int) -> Tensor:
    """[known]: 1 for what is executed before the chunk comes, then falling to 0 (2506.07339, eq. 5).

    known: actions of the old chunk that are left; delay: of these, executed meanwhile; total: actions of the new chunk.
    """
    known = min(known, total)
    out = torch.ones(known)
    for i in range(delay, known):
        c = (known - i) / (known - delay + 1)
        out[i] = c * math.expm1(c) / math.expm1(1)
    return out


def inpainted(policy: DiffusionPolicy, asked: Queries, known: Known, generator: torch.Generator | None = None) -> Tensor:
    """As `DiffusionPolicy.future`, [1, H - O + 1, A]; actions of weight 1 come out as they are known. Caches take part."""
    where, values = _placed(policy, known)
    fixed = where >= 1
    noise = policy.noise(len(asked), generator)
    condition, cache = policy.condition(asked), policy.cache
    levels = _levels(policy)
    with torch.inference_mode():
        cache.begin(policy.denoiser, len(policy.sampler))

        def predict(i: int, x: Tensor) -> Tensor:
            signal, spread = levels[i]
            x[:, fixed] = signal * values[fixed] + spread * noise[0][:, fixed]
            return cache.evaluate(Evaluation(policy.denoiser, x, condition, i, policy.account))

        begin = noise.clone()
        out = policy.sampler.run(predict, begin)
        out[:, fixed] = values[fixed]
        return _actions(policy, out)


def guided(
    policy: DiffusionPolicy, asked: Queries, known: Known, generator: torch.Generator | None = None, limit: float = LIMIT
) -> Tensor:
    """As `DiffusionPolicy.future`, [1, H - O + 1, A]. Raises InputError for a policy that predicts noise: the pull is a flow's."""
    if policy.config.objective != "flow":
        raise InputError("guided: is for policies that predict flow; use inpainted, newest or average for one that predicts noise")
    where, values = _placed(policy, known)
    noise = policy.noise(len(asked), generator)
    with torch.inference_mode(False), torch.enable_grad():
        condition = policy.condition(Queries(*(None if t is None else t.clone() for t in (asked.observations, asked.memory))))  # type: ignore[arg-type]
        whole = NoCache()

        def predict(i: int, x: Tensor) -> Tensor:
            t = float(policy.sampler.times[i]) / FLOW_SCALE  # from 1 to 0
            x = x.clone().requires_grad_()
            out = whole.evaluate(Evaluation(policy.denoiser, x, condition, i, policy.account))
            clean = x - t * out
            (pull,) = torch.autograd.grad(clean, x, where[:, None] * (values - clean.detach()))
            r = t * t / ((1 - t) ** 2 + t * t)
            strength = min(limit, t / ((1 - t) * r)) if t < 1 else limit
            return out.detach() - strength * pull

        out = policy.sampler.run(predict, noise.clone())
    return _actions(policy, out.detach())


def _placed(policy: DiffusionPolicy, known: Known) -> tuple[Tensor, Tensor]:
    """Weights [H] and values [H, A], within +-1, in the rows of the horizon."""
    d = policy.config.denoiser
    start, count = d.observation_steps - 1, len(known.actions)
    if known.actions.ndim != 2 or known.actions.shape[1] != d.action_size or len(known.weights) != count:
        raise InputError(
            f"known: must be [K, {d.action_size}] with K weights: got {list(known.actions.shape)}, {len(known.weights)}"
        )
    if count > d.horizon - start:
        raise InputError(f"known: a chunk has {d.horizon - start} actions from now on: got {count}")
    weights, values = torch.zeros(d.horizon), torch.zeros(d.horizon, d.action_size)
    weights[start : start + count] = known.weights
    values[start : start + count] = policy.actions(known.actions.to(values.dtype)).clamp(-1, 1)
    return weights, values


def _levels(policy: DiffusionPolicy) -> list[tuple[float, float]]:
    """Of every step: how much of the actions is in what the network sees, and how much noise."""
    if policy.config.objective == "flow":
        at = [float(t) / FLOW_SCALE for t in policy.sampler.times]
        return [(1 - t, t) for t in at]
    kept = [float(policy.kept[int(t)]) for t in policy.sampler.times]
    return [(math.sqrt(k), math.sqrt(1 - k)) for k in kept]


def _actions(policy: DiffusionPolicy, out: Tensor) -> Tensor:
    start = policy.config.denoiser.observation_steps - 1
    return policy.actions.back(out.clamp(-1, 1))[:, start:]
