"""Recorded windows for a bench: where the file is, which windows, which site."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge.core.errors import InputError
from robotics.driving.recorded import load_recorded
from robotics.driving.scene import Window
from robotics.driving.windows import windows

DATA_VARIABLE = "EDGE_DATA"


def data_path(data: Path | None) -> Path:
    """The recorded traffic: what was given, or the file named by EDGE_DATA. Raises InputError when there is neither."""
    path = str(data) if data is not None else os.environ.get(DATA_VARIABLE, "")
    if not path:
        raise InputError(f"no recorded data: give --data FILE or set {DATA_VARIABLE} to the npz file of recorded traffic")
    return Path(path)


def split_windows(path: Path, split: str, limit: int | None = None) -> list[Window]:
    """All windows of a split, or `limit` of them spread evenly over it."""
    recorded = load_recorded(path)
    found = [w for name in recorded.names(split) for w in windows(recorded.scene(name))]
    if limit is None or limit >= len(found):
        return found
    return [found[i] for i in np.linspace(0, len(found) - 1, limit).round().astype(int)]


def site(scene: str) -> str:
    """ "US-101" or "Lankershim", from the scene's name."""
    return "Lankershim" if "lanker" in scene.lower() else "US-101"


def sites(scenes: Sequence[str]) -> dict[str, int]:
    names = [site(s) for s in scenes]
    return {n: names.count(n) for n in sorted(set(names))}
