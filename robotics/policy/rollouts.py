"""A policy in its arena: episodes it has never seen, one after the other.

An episode draws from a generator of its own seed, so that policies and caches meet the same layouts and the same noise.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from edge.core.recent import Recent
from robotics.policy.arena.metaworld import Arena
from robotics.policy.policy import DiffusionPolicy
from robotics.policy.senses import Senses

LIMIT = 300
"""Steps of an episode."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """steps: until the task was done, or the limit; chunk_s: seconds that every chunk took; parts_ms: of a chunk in the mean,
    seeing, reading and acting apart, where the policy sees.
    """

    task: str
    seed: int
    success: bool
    steps: int
    chunk_s: tuple[float, ...]
    parts_ms: tuple[float, ...] = ()


def episode(policy: DiffusionPolicy, arena: Arena, seed: int, limit: int = LIMIT, senses: Senses | None = None) -> Outcome:
    """One episode. senses: the arena's for this policy, where they are not its own."""
    policy.reset()
    senses = senses or Senses(arena, policy.config)
    generator = torch.Generator().manual_seed(seed)
    seen = arena.reset(seed)
    done, spent, parts = False, [], []
    while not done and len(spent) < limit:
        due = policy.due
        batch = senses(seen, look=due)
        begin = time.perf_counter()
        action = policy.select_action(batch, generator)
        spent.append(time.perf_counter() - begin)
        if due and policy.parts_ms:
            parts.append(policy.parts_ms)
        seen, done = arena.step(action[0].numpy())
    split = tuple(sum(part) / len(parts) for part in zip(*parts, strict=True))
    return Outcome(arena.task, seed, done, len(spent), tuple(spent[:: policy.config.execute]), split)


_arena = lru_cache(maxsize=64)(Arena)
"""Arenas are slow to build; an episode begins by resetting all of theirs."""


_senses: Recent[tuple[Any, ...], Senses] = Recent(16)
"""A camera is slow to set up, too."""


def episodes(
    policy: DiffusionPolicy,
    tasks: Sequence[str],
    seeds: Sequence[int],
    limit: int = LIMIT,
    words: str | None = None,
    blind: bool = False,
) -> Iterator[Outcome]:
    """Episodes of all seeds, one task after the other. words, blind: as of `Senses`.

    Raises UnknownNameError for a task that the policy has not learnt.
    """
    for task in tasks:
        arena = _arena(task, policy.config.tasks)
        key = (task, policy.config.model_dump_json(), words, blind)
        senses = _senses.get(key, lambda a=arena: Senses(a, policy.config, words, blind))
        for seed in seeds:
            yield episode(policy, arena, seed, limit, senses)
