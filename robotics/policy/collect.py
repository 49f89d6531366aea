"""Demonstrations of scripted experts.

What is executed is the expert's action plus noise, what is learnt is the action itself, so that the policy sees how to come back
from where it should not be (DART, arXiv 1703.09327).
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.core.children import follow_parent
from edge.core.errors import InputError
from edge.core.progress import progress
from edge.training.state import write_bytes
from robotics.policy.demonstrations import META_FILE, SCHEMA
from robotics.policy.metaworld import TRAIN_SEEDS, Arena

F32 = NDArray[np.float32]
NOISE = (0.0, 0.1, 0.3)
"""Standard deviations of what is added to executed actions, one episode after the other."""
LIMIT, AFTER = 300, 8
"""Steps within which a demonstration must succeed, and those that are kept after it did."""
TAKEN = 5
"""Episodes that a process takes at a time."""


@dataclass(frozen=True, slots=True)
class Episode:
    """observations: [T, F]; actions: [T, A]."""

    seed: int
    observations: F32
    actions: F32


def demonstrate(arena: Arena, seed: int, noise: float, limit: int = LIMIT, after: int = AFTER) -> Episode | None:
    """One episode; None where the expert does not succeed in time."""
    rng = np.random.default_rng([seed, 1])
    seen, expert = arena.reset(seed), arena.expert()
    observations, actions, left = [], [], None
    for _ in range(limit):
        action = expert()
        observations.append(seen)
        actions.append(action)
        seen, done = arena.step(action + rng.normal(0, noise, action.shape).astype(np.float32))
        left = after if left is None and done else left
        if left is not None:
            if left == 0:
                return Episode(seed, np.stack(observations), np.stack(actions))
            left -= 1
    return None


def collect(tasks: Sequence[str], episodes: int, out: str | Path, *, workers: int = 1, show: bool = True) -> dict[str, Any]:
    """Write a folder of demonstrations, `episodes` tried of every task; returns its `meta.json`.

    Goes on where it was stopped: a task that is written stays. Raises InputError for a folder of something else and fewer than one
    episode or worker, UnknownNameError for a task.
    """
    out = Path(out)
    if episodes < 1 or workers < 1:
        raise InputError(f"{episodes} episodes by {workers} workers: give at least one of each")
    for task in tasks:
        Arena(task, tasks)  # refused before anything slow begins
    wanted = {"schema": SCHEMA, "tasks": list(tasks), "episodes": episodes, "noise": list(NOISE), "first_seed": TRAIN_SEEDS}
    asked = out / "asked.json"
    if asked.exists():
        if json.loads(asked.read_text(encoding="utf-8")) != wanted:
            raise InputError(f"{out}: holds other demonstrations (see {asked.name}); choose another folder")
    elif out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty and holds no demonstrations; choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    write_bytes(asked, json.dumps(wanted).encode())
    missing = [t for t in tasks if not (out / f"{t}.npz").exists()]
    takes = [
        (tuple(tasks), t, range(n, min(n + TAKEN, TRAIN_SEEDS + episodes)))
        for t in missing
        for n in range(TRAIN_SEEDS, TRAIN_SEEDS + episodes, TAKEN)
    ]
    found: dict[str, list[Episode]] = {t: [] for t in missing}
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), follow_parent) as pool:
        for (_, task, seeds), got in zip(takes, progress(pool.map(_take, takes), len(takes), "collecting", show), strict=True):
            found[task] += [e for e in got if e is not None]
            if seeds.stop == TRAIN_SEEDS + episodes:
                _write(out / f"{task}.npz", task, found.pop(task), episodes)
    meta = {**wanted, "kept": {}, "frames": {}, "dropped": {f"the expert does not succeed within {LIMIT} steps": {}}}
    for task in tasks:
        with np.load(out / f"{task}.npz") as f:
            meta["kept"][task], meta["frames"][task] = len(f["starts"]), len(f["actions"])
        next(iter(meta["dropped"].values()))[task] = episodes - meta["kept"][task]
    write_bytes(out / META_FILE, (json.dumps(meta, indent=2) + "\n").encode())
    return meta


def _take(take: tuple[tuple[str, ...], str, Sequence[int]]) -> list[Episode | None]:
    tasks, task, seeds = take
    arena = Arena(task, tasks)
    return [demonstrate(arena, seed, NOISE[seed % len(NOISE)]) for seed in seeds]


def _write(path: Path, task: str, episodes: Sequence[Episode], tried: int) -> None:
    if not episodes:
        raise InputError(f"{task}: its expert did not succeed in any of {tried} episodes; choose another task, or more episodes")
    starts = np.cumsum([0] + [len(e.actions) for e in episodes[:-1]])
    temporary = path.with_suffix(".partial")
    with temporary.open("wb") as f:
        np.savez(
            f,
            observations=np.concatenate([e.observations for e in episodes]),
            actions=np.concatenate([e.actions for e in episodes]),
            starts=starts,
            seeds=np.array([e.seed for e in episodes]),
        )
    temporary.replace(path)
