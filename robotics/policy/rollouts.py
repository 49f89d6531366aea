"""A policy in its arena: episodes it has never seen, one after the other.

An episode draws from a generator of its own seed, so that policies and caches meet the same layouts and the same noise.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from robotics.policy.metaworld import Arena
from robotics.policy.policy import DiffusionPolicy
from robotics.policy.types import STATE

LIMIT = 300
"""Steps of an episode."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """steps: until the task was done, or the limit; chunk_s: seconds that every chunk took."""

    task: str
    seed: int
    success: bool
    steps: int
    chunk_s: tuple[float, ...]


def episode(policy: DiffusionPolicy, arena: Arena, seed: int, limit: int = LIMIT) -> Outcome:
    """One episode."""
    policy.reset()
    generator = torch.Generator().manual_seed(seed)
    seen = arena.reset(seed)
    done, spent = False, []
    while not done and len(spent) < limit:
        begin = time.perf_counter()
        action = policy.select_action({STATE: torch.from_numpy(seen)[None]}, generator)
        spent.append(time.perf_counter() - begin)
        seen, done = arena.step(action[0].numpy())
    return Outcome(arena.task, seed, done, len(spent), tuple(spent[:: policy.config.execute]))


_arena = lru_cache(maxsize=64)(Arena)
"""Arenas are slow to build; an episode begins by resetting all of theirs."""


def episodes(policy: DiffusionPolicy, tasks: Sequence[str], seeds: Sequence[int], limit: int = LIMIT) -> Iterator[Outcome]:
    """Episodes of all seeds, one task after the other. Raises UnknownNameError for a task that the policy has not learnt."""
    for task in tasks:
        arena = _arena(task, policy.config.tasks)
        for seed in seeds:
            yield episode(policy, arena, seed, limit)
