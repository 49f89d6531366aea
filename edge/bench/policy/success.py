"""How often a policy succeeds in episodes that it has never seen, by task, with Wilson's intervals."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from edge.bench import record
from edge.core.children import follow_parent
from edge.core.errors import InputError
from edge.core.progress import progress
from robotics.policy.checkpoint import load
from robotics.policy.metaworld import EVAL_SEEDS, Arena
from robotics.policy.policy import DiffusionPolicy
from robotics.policy.rollouts import Outcome, episodes

TAKEN = 5
"""Episodes a process takes at a time."""
Take = tuple[Path, str | None, str, Sequence[int], int]


def evaluate(
    model: Path, tasks: Sequence[str], count: int, limit: int, sampler: str | None, *, workers: int = 1, show: bool = True
) -> dict[str, Any]:
    """Success by task, in the common form of a bench.

    Raises CheckpointError for a folder without a policy, InputError and UnknownNameError for what cannot be evaluated.
    """
    if count < 1 or limit < 1 or workers < 1:
        raise InputError(f"{count} episodes of {limit} steps by {workers} workers: give at least one of each")
    policy = _policy(model, sampler)
    tasks = tasks or policy.config.tasks
    for task in tasks:
        Arena(task, policy.config.tasks)  # refused before anything slow begins
    first = range(EVAL_SEEDS, EVAL_SEEDS + count, TAKEN)
    takes: list[Take] = [(model, sampler, t, range(n, min(n + TAKEN, EVAL_SEEDS + count)), limit) for t in tasks for n in first]
    found: list[Outcome] = []
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start) as pool:
        for got in progress(pool.map(_take, takes), len(takes), "acting", show):
            found += got
    rows = [row(t, [o for o in found if o.task == t]) for t in tasks] + [row("all", found)]
    name = f"{policy.sampler.name}:{len(policy.sampler)}"
    return record.report("policy-eval", rows, model=str(model), sampler=name, limit=limit, workers=workers)


def row(name: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """One line: success with its interval, steps of the successful episodes, milliseconds of a chunk."""
    done = [o for o in outcomes if o.success]
    low, high = wilson(len(done), len(outcomes))
    ms = 1000 * np.concatenate([o.chunk_s for o in outcomes])
    return {
        "name": name,
        "episodes": len(outcomes),
        "success": len(done) / len(outcomes),
        "success_low": low,
        "success_high": high,
        "steps_p50": float(np.median([o.steps for o in done])) if done else None,
        "ms_p50": float(np.median(ms)),
        "ms_p99": float(np.quantile(ms, 0.99)),
    }


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a share."""
    from scipy.stats import binomtest

    found = binomtest(successes, trials).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def _start() -> None:
    import torch

    follow_parent()
    torch.set_num_threads(1)


def _take(take: Take) -> list[Outcome]:
    model, sampler, task, seeds, limit = take
    return list(episodes(_policy(model, sampler), [task], seeds, limit))


@lru_cache(maxsize=2)
def _policy(model: Path, sampler: str | None) -> DiffusionPolicy:
    policy = load(model)
    if sampler is not None:
        policy.sample_with(*named(sampler))
    return policy


def named(text: str) -> tuple[str, int]:
    """SAMPLER:STEPS. Raises InputError for anything else."""
    name, _, steps = text.partition(":")
    if not steps.isdecimal():
        raise InputError(f"sampler {text!r}: must be SAMPLER:STEPS; say for example ddim:10")
    return name, int(steps)
