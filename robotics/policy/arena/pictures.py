"""Pictures of demonstrations with instructions and answers: a folder that `converters` trains on, "edge.sft/1".

Frames stand in the order of the demonstrations, so that what a model makes of a picture can be looked up by its frame. Some are
told nothing of the task, so that a policy learns what to do then.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotics.policy.arena.instructions import NOTHING, answer, job, request, said

FOLDER, SCHEMA, PLACE = "pictures", "edge.sft/1", "<image>"
UNTOLD = 0.12
"""Share of frames without an instruction."""


def words_of(task: str, seed: int, frame: int) -> str:
    """What this frame's policy is told."""
    rng = np.random.default_rng([seed, frame, 2])
    sayings = job(task).sayings
    return NOTHING if rng.random() < UNTOLD else sayings[rng.integers(len(sayings))]


def prompt(words: str) -> str:
    before, behind = request(words)
    return before + PLACE + behind


def write(folder: Path, tasks: Sequence[str]) -> Path:
    """From `TASK.npz` and `TASK.images.npy` of demonstrations; the pictures move."""
    out, work = folder / FOLDER, folder / f"{FOLDER}.partial"
    if out.exists():
        return out
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    shown = [np.load(folder / f"{t}.images.npy", mmap_mode="r") for t in tasks]
    count, size = sum(map(len, shown)), shown[0].shape[1]
    images: NDArray[Any] = np.lib.format.open_memmap(work / "images.npy", "w+", np.uint8, (count, 1, size, size, 3))
    images[:, 0] = np.concatenate(shown)
    images.flush()
    with (work / "records.jsonl").open("w", encoding="utf-8") as f:
        for task in tasks:
            f.writelines(json.dumps(r) + "\n" for r in _records(folder / f"{task}.npz", task))
    meta = {"schema": SCHEMA, "records": count, "image_size": [size, size], "cameras": 1, "tasks": list(tasks)}
    meta["template"] = answer().model_dump(mode="json")
    (work / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
    os.rename(work, out)
    for task in tasks:
        (folder / f"{task}.images.npy").unlink()
    return out


def _records(file: Path, task: str) -> list[dict[str, Any]]:
    with np.load(file) as f:
        observations, starts, seeds = f["observations"], f["starts"], f["seeds"]
    episode = np.searchsorted(starts, np.arange(len(observations)), side="right") - 1
    out = []
    for n, (seen, e) in enumerate(zip(observations, episode, strict=True)):
        seed, frame = int(seeds[e]), int(n - starts[e])
        words = words_of(task, seed, frame)
        out.append({"id": f"{task}:{seed}:{frame}", "prompt": prompt(words), "words": words, "values": said(task, seen)})
    return out
