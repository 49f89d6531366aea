"""How far a cache or sampler is from what it stands for, on observations of experts: cheap, and enough to leave some out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edge.bench.policy.entries import Bench, Entry
from edge.core.progress import progress
from robotics.policy.cache.base import NoCache
from robotics.policy.policy import DiffusionPolicy, attached
from robotics.policy.types import Queries


@dataclass(frozen=True, slots=True)
class Screened:
    """own: mean squared difference of executed actions to those of the same sampler without a cache and the same noise; expert: to
    what the expert does; units: unit evaluations a chunk; flops: multiplications and additions of a chunk.
    """

    own: float
    expert: float
    units: float
    flops: float


def screen(bench: Bench, chosen: Sequence[Entry], seen: Queries, done: Tensor, show: bool = True) -> dict[Entry, Screened]:
    """seen: what is asked; done: the expert's actions [N, n, A]."""
    plain: dict[tuple[object, str], Tensor] = {}
    out = {}
    for entry in progress(chosen, len(chosen), "screening", show):
        policy, cache = bench.ready(entry)
        key = (entry.model, entry.sampler)
        if key not in plain:
            plain[key] = _actions(policy, seen)
        with attached(policy, cache) as account:
            got = plain[key] if isinstance(cache, NoCache) else _actions(policy, seen)
            if isinstance(cache, NoCache):
                _actions(policy, seen[:1])
        queries = 1 if isinstance(cache, NoCache) else len(seen)
        out[entry] = Screened(
            float((got - plain[key]).square().mean()),
            float((got - done).square().mean()),
            account.unit_evaluations / queries,
            account.flops(policy.denoiser) / queries,
        )
    return out


def _actions(policy: DiffusionPolicy, seen: Queries) -> Tensor:
    """Executed actions [N, n, A], query by query: what gates decide depends on the query alone."""
    first = policy.config.denoiser.observation_steps - 1
    window = slice(first, first + policy.config.execute)
    noises = [policy.noise(1, torch.Generator().manual_seed(i)) for i in range(len(seen))]
    return torch.cat([policy.sample(s, n)[:, window] for s, n in zip(seen, noises, strict=True)])


def front(screened: dict[Entry, Screened]) -> list[Entry]:
    """Entries of one sampler that no other one of it beats in both, work and distance from the uncached one."""
    best, out = np.inf, []
    for entry, s in sorted(screened.items(), key=lambda item: (item[1].units, item[1].own)):
        if s.own < best:
            best = s.own
            out.append(entry)
    return out
