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
from robotics.policy.arena import pictures
from robotics.policy.arena.camera import Camera
from robotics.policy.arena.demonstrations import META_FILE, SCHEMA
from robotics.policy.arena.instructions import job
from robotics.policy.arena.metaworld import TRAIN_SEEDS, Arena

F32, U8 = NDArray[np.float32], NDArray[np.uint8]
NOISE = (0.0, 0.1, 0.3)
"""Standard deviations of what is added to executed actions, one episode after the other."""
LIMIT, AFTER = 300, 8
"""Steps within which a demonstration must succeed, and those that are kept after it did."""
TAKEN = 5
"""Episodes that a process takes at a time."""


@dataclass(frozen=True, slots=True)
class Episode:
    """observations: [T, F]; actions: [T, A]; images: [T, size, size, 3] where there was a camera."""

    seed: int
    observations: F32
    actions: F32
    images: U8 | None = None


def demonstrate(
    arena: Arena, seed: int, noise: float, limit: int = LIMIT, after: int = AFTER, camera: Camera | None = None
) -> Episode | None:
    """One episode; None where the expert does not succeed in time."""
    rng = np.random.default_rng([seed, 1])
    seen, expert = arena.reset(seed), arena.expert()
    observations, actions, images, left = [], [], [], None
    for _ in range(limit):
        action = expert()
        observations.append(seen)
        actions.append(action)
        if camera is not None:
            images.append(camera())
        seen, done = arena.step(action + rng.normal(0, noise, action.shape).astype(np.float32))
        left = after if left is None and done else left
        if left is not None:
            if left == 0:
                return Episode(seed, np.stack(observations), np.stack(actions), np.stack(images) if images else None)
            left -= 1
    return None


def collect(
    tasks: Sequence[str],
    episodes: int,
    out: str | Path,
    *,
    first: int = TRAIN_SEEDS,
    size: int = 0,
    workers: int = 1,
    show: bool = True,
) -> dict[str, Any]:
    """Write a folder of demonstrations, `episodes` tried of every task from seed `first` on; returns its `meta.json`.

    size: of a picture of every frame, in pixels; they are written to `pictures` with instructions and answers. Goes on where it was
    stopped: a task that is written stays. Raises InputError for a folder of something else and fewer than one episode or worker,
    UnknownNameError for a task, UnsupportedError where no pictures can be drawn.
    """
    out = Path(out)
    if episodes < 1 or workers < 1:
        raise InputError(f"{episodes} episodes by {workers} workers: give at least one of each")
    for task in tasks:
        arena = Arena(task, tasks)  # refused before anything slow begins
        if size:
            job(task)
            Camera(arena, size)
    wanted = {"schema": SCHEMA, "tasks": list(tasks), "episodes": episodes, "noise": list(NOISE), "first_seed": first}
    if size:
        wanted["size"] = size
    asked = out / "asked.json"
    if asked.exists():
        if json.loads(asked.read_text(encoding="utf-8")) != wanted:
            raise InputError(f"{out}: holds other demonstrations (see {asked.name}); choose another folder")
    elif out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: is not empty and holds no demonstrations; choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    write_bytes(asked, json.dumps(wanted).encode())
    missing = [t for t in tasks if not (out / f"{t}.npz").exists()]
    end = first + episodes
    takes = [(tuple(tasks), t, range(n, min(n + TAKEN, end)), size) for t in missing for n in range(first, end, TAKEN)]
    found: dict[str, list[Episode]] = {t: [] for t in missing}
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), follow_parent) as pool:
        for (_, task, seeds, _), got in zip(takes, progress(pool.map(_take, takes), len(takes), "collecting", show), strict=True):
            found[task] += [e for e in got if e is not None]
            if seeds.stop == end:
                _write(out / f"{task}.npz", task, found.pop(task), episodes)
    meta = {**wanted, "kept": {}, "frames": {}, "dropped": {f"the expert does not succeed within {LIMIT} steps": {}}}
    for task in tasks:
        with np.load(out / f"{task}.npz") as f:
            meta["kept"][task], meta["frames"][task] = len(f["starts"]), len(f["actions"])
        next(iter(meta["dropped"].values()))[task] = episodes - meta["kept"][task]
    if size:
        pictures.write(out, tasks)
    write_bytes(out / META_FILE, (json.dumps(meta, indent=2) + "\n").encode())
    return meta


def _take(take: tuple[tuple[str, ...], str, Sequence[int], int]) -> list[Episode | None]:
    tasks, task, seeds, size = take
    arena = Arena(task, tasks)
    camera = Camera(arena, size) if size else None
    return [demonstrate(arena, seed, NOISE[seed % len(NOISE)], camera=camera) for seed in seeds]


def _write(path: Path, task: str, episodes: Sequence[Episode], tried: int) -> None:
    if not episodes:
        raise InputError(f"{task}: its expert did not succeed in any of {tried} episodes; choose another task, or more episodes")
    starts = np.cumsum([0] + [len(e.actions) for e in episodes[:-1]])
    if episodes[0].images is not None:
        np.save(path.with_suffix(".images.npy"), np.concatenate([e.images for e in episodes if e.images is not None]))
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
