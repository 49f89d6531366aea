"""Planners that see nothing: what a learned one has to beat. Shapes: `N` windows, `K` times.

Every baseline reads four past points, 0.5 s apart, and the origin, and nothing else: speeds that a recording carries are often
smoothed with points from the future (those of NGSIM average over +-0.2 s), and would hand a baseline part of the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

F64 = NDArray[np.float64]

PAST_S = 0.5
"""Spacing of the past points."""
PAST_STEPS = 5
"""The same in steps of a window's 10 Hz history."""
GRID_S = np.arange(1, 11) * 0.5
"""Errors are taken on this grid."""


def past(history: ArrayLike) -> F64:
    """history [..., 21, 2] m at 10 Hz, ego frame -> [..., 5, 2]: the points at -2, -1.5, -1, -0.5 and 0 s."""
    return np.asarray(history, dtype=np.float64)[..., ::PAST_STEPS, :]


def velocity(points: ArrayLike) -> F64:
    """The velocity that every use of "constant velocity" here means: the mean over the last 0.5 s.

    points: [..., n >= 2, 2] m, ego frame, 0.5 s apart, the present last. Returns [..., 2] m/s, forward and left.
    """
    p = np.asarray(points, dtype=np.float64)
    return (p[..., -1, :] - p[..., -2, :]) / PAST_S


def stop(points: ArrayLike, times_s: ArrayLike = GRID_S) -> F64:
    """Stays where it is: zeros [..., K, 2]."""
    return np.zeros((*np.asarray(points).shape[:-2], np.size(times_s), 2))


def constant_velocity(velocity_mps: ArrayLike, times_s: ArrayLike = GRID_S) -> F64:
    """velocity_mps [..., 2] -> [..., K, 2]: straight on from the origin."""
    return np.asarray(velocity_mps, dtype=np.float64)[..., None, :] * np.asarray(times_s, dtype=np.float64)[:, None]


def constant_turn_and_acceleration(points: ArrayLike, times_s: ArrayLike = GRID_S, dt_s: float = 0.1) -> F64:
    """Goes on with the acceleration and turn rate of the last second, never backwards: points [..., 5, 2] -> [..., K, 2].

    Both are differences between the last two mean velocities. Below 1 m/s a direction of travel is noise: no turn.
    """
    p = np.asarray(points, dtype=np.float64)
    v = np.diff(p, axis=-2)[..., -2:, :] / PAST_S
    speed, heading = np.linalg.norm(v, axis=-1), np.arctan2(v[..., 1], v[..., 0])
    accel = (speed[..., 1] - speed[..., 0]) / PAST_S
    turn = (heading[..., 1] - heading[..., 0] + np.pi) % (2 * np.pi) - np.pi
    rate = np.where(speed[..., 1] >= 1.0, turn, 0.0) / PAST_S
    t = np.arange(1, round(float(np.max(times_s)) / dt_s) + 1) * dt_s
    s = np.maximum(speed[..., 1, None] + accel[..., None] * t, 0.0)
    angle = heading[..., 1, None] + rate[..., None] * t
    xy = np.cumsum(np.stack([s * np.cos(angle), s * np.sin(angle)], axis=-1) * dt_s, axis=-2)
    return xy[..., np.round(np.asarray(times_s) / dt_s).astype(int) - 1, :]


@dataclass(frozen=True, slots=True)
class Ridge:
    """Linear map from four past points to the future, fitted per site. weights: [9, 2 K] (8 coordinates and a constant)."""

    weights: F64

    @classmethod
    def fit(cls, points: ArrayLike, future: ArrayLike, penalty: float = 1.0) -> Ridge:
        """points [N, 5, 2], future [N, K, 2] on any grid, metres. The constant is not penalised."""
        x = _features(points)
        y = np.asarray(future, dtype=np.float64).reshape(len(x), -1)
        shrink = penalty * np.eye(x.shape[1])
        shrink[-1, -1] = 0.0
        return cls(np.linalg.solve(x.T @ x + shrink, x.T @ y).astype(np.float64))

    def __call__(self, points: ArrayLike) -> F64:
        """points [N, 5, 2] -> [N, K, 2]."""
        x = _features(points)
        return (x @ self.weights).reshape(len(x), -1, 2)


def _features(points: ArrayLike) -> F64:
    """The four past points as one row each (the fifth is the origin), and a constant."""
    p = np.asarray(points, dtype=np.float64)[:, :-1].reshape(len(np.asarray(points)), -1)
    return np.concatenate([p, np.ones((len(p), 1))], axis=1)
