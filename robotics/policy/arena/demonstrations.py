"""Demonstrations on disk, and the windows of them that a policy learns from.

A folder holds `meta.json` (the tasks, in the order of their features, what was dropped and why) and one `TASK.npz` for each:
`observations` float32 [N, F], `actions` float32 [N, A], `starts` int64 [episodes] and their `seeds`.
Shapes: `N` frames of all tasks, `B` batch, `O` observation steps, `H` horizon.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge.core.errors import InputError
from robotics.policy.types import STATE

META_FILE, SCHEMA = "meta.json", "edge.demonstrations/1"
I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Demonstrations:
    """observations: [N, F]; actions: [N, A], said at the same time; first, last: [N], of the frame's episode; task: [N]."""

    tasks: tuple[str, ...]
    observations: Tensor
    actions: Tensor
    first: I64
    last: I64
    task: I64

    @classmethod
    def load(cls, folder: str | Path) -> Demonstrations:
        """Raises InputError for a folder that holds none, or broken ones."""
        folder = Path(folder)
        try:
            meta = json.loads((folder / META_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise InputError(f"{folder}: holds no {META_FILE}; collect demonstrations with `edge policy collect`") from None
        if meta.get("schema") != SCHEMA:
            raise InputError(f"{folder / META_FILE}: schema must be {SCHEMA!r}: got {meta.get('schema')!r}; collect them anew")
        parts = [_read(folder / f"{t}.npz") for t in meta["tasks"]]
        before = np.cumsum([0] + [len(p["actions"]) for p in parts])
        ends = [np.append(p["starts"][1:], len(p["actions"])) for p in parts]
        lengths = [e - p["starts"] for e, p in zip(ends, parts, strict=True)]
        first = [np.repeat(p["starts"] + b, n) for p, b, n in zip(parts, before[:-1], lengths, strict=True)]
        last = [np.repeat(e + b - 1, n) for e, b, n in zip(ends, before[:-1], lengths, strict=True)]
        return cls(
            tuple(meta["tasks"]),
            torch.from_numpy(np.concatenate([p["observations"] for p in parts])),
            torch.from_numpy(np.concatenate([p["actions"] for p in parts])),
            np.concatenate(first),
            np.concatenate(last),
            np.repeat(np.arange(len(parts)), np.diff(before)),
        )

    def __len__(self) -> int:
        return len(self.actions)

    def split(self, share: float) -> tuple[I64, I64]:
        """Frames to learn from, and those of every so many episodes, about `share` of them, kept aside."""
        if not share:
            return np.arange(len(self)), np.empty(0, dtype=np.int64)
        episode = np.unique(self.first, return_inverse=True)[1]
        aside = episode % round(1 / share) == 0
        return np.flatnonzero(~aside), np.flatnonzero(aside)

    def windows(self, frames: Sequence[int] | I64, observation_steps: int, horizon: int) -> dict[str, Tensor]:
        """`observation.state` [B, O, F] up to each frame, and `action` [B, H, A] from the oldest of these on.

        Before an episode's first frame and after its last one these are repeated.
        """
        at = np.asarray(frames)[:, None]
        first, last = self.first[at], self.last[at]
        oldest = at - (observation_steps - 1)
        seen = np.clip(oldest + np.arange(observation_steps), first, last)
        done = np.clip(oldest + np.arange(horizon), first, last)
        return {STATE: self.observations[torch.from_numpy(seen)], "action": self.actions[torch.from_numpy(done)]}


def _read(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as f:
            found = {k: f[k] for k in ("observations", "actions", "starts", "seeds")}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as e:
        raise InputError(f"{path}: no demonstrations ({e}); collect them anew") from None
    if not len(found["starts"]) or len(found["observations"]) != len(found["actions"]):
        raise InputError(f"{path}: {len(found['observations'])} observations, {len(found['actions'])} actions; collect them anew")
    return found
