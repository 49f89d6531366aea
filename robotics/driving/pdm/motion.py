"""Comfort: six bounds on how the ego moves, as nuPlan sets them, and how much two plans in a row differ. Shapes: `T` steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.core.errors import InputError
from robotics.driving.pdm.rollout import Ego
from robotics.driving.pdm.smooth import savgol

F64 = NDArray[np.float64]

BOUNDS: Mapping[str, tuple[float, float]] = {
    "lon_accel_mps2": (-4.05, 2.40),
    "lat_accel_mps2": (-4.89, 4.89),
    "jerk_mps3": (-8.37, 8.37),
    "lon_jerk_mps3": (-4.13, 4.13),
    "yaw_rate_radps": (-0.95, 0.95),
    "yaw_accel_radps2": (-1.93, 1.93),
}
"""nuPlan's ego_is_comfortable, also NAVSIM's. `jerk_mps3` is the rate at which the magnitude of the acceleration changes."""

DIFFERENCE = {"accel_mps2": 0.7, "jerk_mps3": 0.5, "yaw_rate_radps": 0.1, "yaw_accel_radps2": 0.1}
"""Root mean square differences that two plans in a row may have (NAVSIM v2, extended comfort)."""

_SHORT, _LONG = 9, 15
"""Windows of nuPlan's Savitzky-Golay filters: of accelerations (its 8 made odd), and of jerks and yaw."""


def movement(ego: Ego) -> dict[str, F64]:
    """Accelerations, jerks and turning of the ego, each [T], smoothed as nuPlan does it. Keys: those of BOUNDS and "accel_mps2".

    Accelerations come from speed and heading: along it dv/dt, across it v times the yaw rate. Raises InputError for fewer than 5
    steps: third derivatives of less are noise.
    """
    if len(ego) < 5:
        raise InputError(f"comfort needs at least 5 steps: got {len(ego)}")
    dt, yaw = ego.dt_s, np.unwrap(ego.poses[:, 2])
    yaw_rate = savgol(yaw, _LONG, 2, 1, dt)
    lon = savgol(ego.speed, _SHORT, 2, 1, dt)
    lat = ego.speed * yaw_rate
    size = savgol(np.hypot(lon, lat), _SHORT, 2)
    return {
        "lon_accel_mps2": lon,
        "lat_accel_mps2": lat,
        "jerk_mps3": savgol(size, _LONG, 2, 1, dt),
        "lon_jerk_mps3": savgol(lon, _LONG, 2, 1, dt),
        "yaw_rate_radps": yaw_rate,
        "yaw_accel_radps2": savgol(yaw, _LONG, 3, 2, dt),
        "accel_mps2": size,
    }


@dataclass(frozen=True, slots=True)
class Bound:
    """The extremes of one quantity and its limits."""

    name: str
    low: float
    high: float
    limits: tuple[float, float]

    @property
    def kept(self) -> bool:
        return self.limits[0] < self.low and self.high < self.limits[1]


def comfort(ego: Ego) -> tuple[float, list[Bound]]:
    """C: 1 if all six bounds hold at every step, else 0; and each bound. HC is the same over the history and the plan joined."""
    m = movement(ego)
    bounds = [Bound(k, float(m[k].min()), float(m[k].max()), limits) for k, limits in BOUNDS.items()]
    return float(all(b.kept for b in bounds)), bounds


def extended_comfort(now: Ego, before: Ego, steps_between: int) -> float:
    """EC: 1 if a plan and the one `steps_between` steps older agree where they overlap, in all four of DIFFERENCE, else 0."""
    count = min(len(now), len(before) - steps_between)
    if count < 5 or steps_between < 1:
        raise InputError(f"extended comfort compares 5 or more common steps of two plans: got {count}, {steps_between} apart")
    a, b = (movement(_cut(e, first, count)) for e, first in ((now, 0), (before, steps_between)))
    return float(all(np.sqrt(np.mean((a[k] - b[k]) ** 2)) <= limit for k, limit in DIFFERENCE.items()))


def _cut(ego: Ego, first: int, count: int) -> Ego:
    return Ego(ego.poses[first : first + count], ego.speed[first : first + count], ego.size, ego.dt_s)
