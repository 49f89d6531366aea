"""A scene made of straight lines, so that every number is known."""

from __future__ import annotations

import numpy as np

from robotics.driving.scene import Scene, Track, Window
from robotics.driving.windows import window_at


def scene(speed_mps: float = 10.0, steps: int = 80) -> Scene:
    """One vehicle that drives along x, on one lane."""
    x = np.arange(steps) * speed_mps * 0.1
    xy = np.stack([x, np.zeros(steps)], axis=1).astype(np.float32)
    track = Track(1, 0, xy, np.zeros(steps, np.float32), np.full(steps, speed_mps, np.float32), 4.5, 1.8)
    ends = np.array([-50.0, 150.0])
    left, right = (np.stack([ends, np.full(2, y)], axis=1).astype(np.float32) for y in (1.8, -1.8))
    return Scene("line", "made up", ((left, right),), {1: track})


def window() -> Window:
    return window_at(scene(), 1, 25)
