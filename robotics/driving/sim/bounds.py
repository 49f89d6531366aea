"""Lanes of the simulator as bounds of a scene."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from robotics.driving.scene import F32
from robotics.driving.sim.simulator import F64


def lane_bounds(
    lanes: Iterable[Any], low: F64, high: F64, bend: Callable[[F64], tuple[F64, F64]] | None = None
) -> tuple[tuple[F32, F32], ...]:
    """Left and right bounds of the lanes every 2 m, as far as both lie between the corners `low` and `high` [2] m, y to the left.

    bend: where each point [n, 2] goes in the end, if elsewhere.
    """
    out = []
    for lane in lanes:
        s = np.linspace(0, lane.length, max(2, int(lane.length / 2) + 1))
        sides = [np.stack([lane.position(v, side * lane.width_at(v) / 2) for v in s]) * (1, -1) for side in (-1, 1)]
        keep = ((sides[0] >= low) & (sides[0] <= high)).all(axis=1)
        if keep.sum() >= 2:
            kept = [side[keep] for side in sides]
            out.append(tuple((p if bend is None else bend(p)[0]).astype(np.float32) for p in kept))
    return tuple(out)
