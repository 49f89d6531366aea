"""The plan of a moment ago, seen from where the ego is now."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robotics.driving.safety.ego import Ego
from robotics.driving.safety.trajectory import TIMES_S, Trajectory

F64 = NDArray[np.float64]

AHEAD_S = np.arange(1.0, 6.0)


@dataclass(frozen=True, slots=True)
class LastValid:
    """A trajectory that passed every hard check, and how long ago its sensor data was taken."""

    trajectory: Trajectory
    age_s: float


def reanchored(last: LastValid, ego: Ego) -> F64:
    """Where the last plan would have the ego in 1..5 s, [5, 2] m in the frame of now.

    The past of the ego (odometry) says where the old frame lies; without it, the present speed and yaw rate do. The plan's end is
    carried on straight at its last speed.
    """
    x0, y0, turned = _pose(ego, -last.age_s)
    t = AHEAD_S + last.age_s
    old = last.trajectory
    beyond = np.maximum(t - TIMES_S[-1], 0.0) * old.v[-1]
    x = np.interp(t, TIMES_S, old.x) + beyond * np.cos(old.yaw[-1])
    y = np.interp(t, TIMES_S, old.y) + beyond * np.sin(old.yaw[-1])
    c, s = np.cos(turned), np.sin(turned)
    return np.stack([x0 + c * x - s * y, y0 + s * x + c * y], axis=1)


def _pose(ego: Ego, t: float) -> tuple[float, float, float]:
    """Pose (x m, y m, yaw rad) of the ego at `t` <= 0 s, in the frame of now."""
    turned = ego.yaw_rate_radps * t
    if len(ego.past) > 1 and t >= ego.past[0][0]:
        times, x, y = np.array(ego.past).T
        return float(np.interp(t, times, x)), float(np.interp(t, times, y)), turned
    way = ego.v_mps * t
    return way * float(np.sinc(turned / np.pi)), way * float(np.sin(turned / 2) * np.sinc(turned / 2 / np.pi)), turned
