"""Motion on the planner's clock: steps of 0.1 s about a moment, from samples at whatever times a data set has.

What lies before the moment is made of samples up to it alone: a past that was smoothed over the present would hold part of the
answer. Shapes: `N` samples, `T` steps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robotics.driving.scene import F32, FUTURE_STEPS, HISTORY_STEPS, RoadUser, Track

F64 = NDArray[np.float64]

DT_S = 0.1
PAST_S = np.arange(-HISTORY_STEPS, 1) * DT_S
FUTURE_S = np.arange(1, FUTURE_STEPS + 1) * DT_S

_STILL_MPS = 0.5
"""Below this the direction of travel is noise."""


def poses_at(times_s: ArrayLike, xy: ArrayLike, yaw: ArrayLike, at_s: ArrayLike) -> tuple[F64, F64]:
    """Poses between samples, linear in position and heading: times [N], xy [N, 2], yaw [N] at `at_s` [T] -> [T, 2], [T].

    The caller keeps `at_s` within the samples.
    """
    t, p, h, at = np.asarray(times_s), np.asarray(xy), np.unwrap(np.asarray(yaw)), np.asarray(at_s)
    return np.stack([np.interp(at, t, p[:, 0]), np.interp(at, t, p[:, 1])], axis=1), np.interp(at, t, h)


def headings(velocity: ArrayLike, known: float, where: int) -> F64:
    """Heading [T] of a vehicle with velocities [T, 2], `known` at index `where`: the direction of travel, or against it.

    Outwards from `where`, of the two the one nearer to the heading before it, as vehicles do not turn round within a step; kept
    while the vehicle stands. Continuous: no jumps of a full turn.
    """
    v = np.asarray(velocity, dtype=np.float64)
    angle, moving = np.arctan2(v[:, 1], v[:, 0]), np.hypot(v[:, 0], v[:, 1]) > _STILL_MPS
    out = np.full(len(v), known)
    for steps in (range(where + 1, len(v)), range(where - 1, -1, -1)):
        last = known
        for n in steps:
            if moving[n]:
                away = (angle[n] - last + np.pi / 2) % np.pi - np.pi / 2  # to the nearer of the direction and its opposite
                last += away
            out[n] = last
    return out


def track(
    track_id: int, first: int, xy: F64, yaw: F64, size_m: tuple[float, float], kind: RoadUser = "vehicle", dt_s: float = DT_S
) -> Track:
    """A track from poses [T, 2], [T]. Speed is the way along the heading since the step before: it holds nothing of later steps."""
    move = np.diff(xy, axis=0) / dt_s
    along = move[:, 0] * np.cos(yaw[1:]) + move[:, 1] * np.sin(yaw[1:])
    speed = np.concatenate([along[:1], along]) if len(along) else np.zeros(len(xy))
    return Track(track_id, first, _f32(xy), _f32(np.angle(np.exp(1j * yaw))), _f32(speed), *size_m, kind)


def _f32(a: F64) -> F32:
    return np.asarray(a, dtype=np.float32)
