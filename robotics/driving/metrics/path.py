"""Waypoints a second apart as a path at any time."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robotics.driving.baselines import GRID_S

F64 = NDArray[np.float64]


def dense(waypoints: ArrayLike, velocity_mps: ArrayLike, times_s: ArrayLike = GRID_S) -> F64:
    """Waypoints at 1, 2, ... s as a path: cubic spline through the origin that leaves with the present velocity.

    waypoints: [..., 5, 2] m (or another number from 2 on); velocity_mps: [..., 2], or a speed along x. Returns [..., K, 2] at
    `times_s` (within 0..5). The far end is free to keep its curvature (not-a-knot): clamping it to a guessed speed would bend the
    last second.
    """
    w = np.asarray(waypoints, dtype=np.float64)
    v = np.asarray(velocity_mps, dtype=np.float64)
    if v.ndim == w.ndim - 2:
        v = np.stack([v, np.zeros_like(v)], axis=-1)
    knots = np.concatenate([np.zeros_like(w[..., :1, :]), w], axis=-2)
    slopes = _slopes(w.shape[-2]) @ np.concatenate([v[..., None, :], knots], axis=-2)
    t = np.asarray(times_s, dtype=np.float64)
    k = np.clip(np.floor(t).astype(int), 0, w.shape[-2] - 1)
    u = (t - k)[:, None]
    start, end = knots[..., k, :], knots[..., k + 1, :]
    ends = (2 * u**3 - 3 * u**2 + 1) * start + (3 * u**2 - 2 * u**3) * end
    return ends + (u**3 - 2 * u**2 + u) * slopes[..., k, :] + (u**3 - u**2) * slopes[..., k + 1, :]


@lru_cache(maxsize=8)
def _slopes(n: int) -> F64:
    """[n + 1, n + 2]: the slopes at the knots 0..n, as a linear map of the first slope and the values at the knots.

    Between knots a cubic; first and second derivatives continuous at the inner ones (m[i-1] + 4 m[i] + m[i+1] =
    3 (y[i+1] - y[i-1])), the third at the last inner one (de Boor, A Practical Guide to Splines, chapter IV).
    """
    left, right = np.zeros((n + 1, n + 1)), np.zeros((n + 1, n + 2))
    left[0, 0] = right[0, 0] = 1.0
    for i in range(1, n):
        left[i, i - 1 : i + 2] = 1.0, 4.0, 1.0
        right[i, 1 + i - 1], right[i, 1 + i + 1] = -3.0, 3.0
    left[n, n - 2], left[n, n] = 1.0, -1.0
    right[n, n - 1 :] = -2.0, 4.0, -2.0
    return np.asarray(np.linalg.solve(left, right), dtype=np.float64)
