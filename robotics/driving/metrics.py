"""Open-loop metrics in numpy: displacement errors, the rater feedback score, and intervals by bootstrap over scenes.

Before quoting a number say on which grid and at which horizon: WOD-E2E samples at 4 Hz, the recorded windows here at 2 Hz.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

from edge.core.errors import InputError
from robotics.driving.baselines import GRID_S

F64 = NDArray[np.float64]


def dense(waypoints: ArrayLike, velocity_mps: ArrayLike, times_s: ArrayLike = GRID_S) -> F64:
    """Five waypoints at 1..5 s as a path: cubic spline through the origin that leaves with the present velocity.

    waypoints: [..., 5, 2] m; velocity_mps: [..., 2], or a speed along x. Returns [..., K, 2] at `times_s` (within 0..5).
    The far end is free to keep its curvature (not-a-knot): clamping it to a guessed speed would bend the last second.
    """
    w = np.asarray(waypoints, dtype=np.float64)
    v = np.asarray(velocity_mps, dtype=np.float64)
    if v.ndim == w.ndim - 2:
        v = np.stack([v, np.zeros_like(v)], axis=-1)
    knots = np.concatenate([np.zeros_like(w[..., :1, :]), w], axis=-2)
    ends: Any = ((1, v), "not-a-knot")
    spline = CubicSpline(np.arange(w.shape[-2] + 1.0), np.moveaxis(knots, -2, 0), bc_type=ends)
    return np.moveaxis(spline(np.asarray(times_s, dtype=np.float64)), 0, -2)


def displacement(pred: ArrayLike, truth: ArrayLike) -> F64:
    """Euclidean distance at every point: [..., K, 2] twice -> [..., K] m."""
    return np.linalg.norm(np.asarray(pred, dtype=np.float64) - np.asarray(truth, dtype=np.float64), axis=-1)


def grid_errors(path: ArrayLike, future: ArrayLike) -> F64:
    """Distances [..., 10] m on the 0.5 s grid. path: [..., 10, 2] on the grid; future: [..., 50, 2], a window's 10 Hz future."""
    return displacement(path, np.asarray(future)[..., 4::5, :])


def ade(pred: ArrayLike, truth: ArrayLike, horizon_s: float = 5.0, grid_s: float = 0.5) -> F64:
    """Average displacement error up to and with `horizon_s`: mean over points at grid_s, 2 grid_s, ... -> [...] m."""
    return displacement(pred, truth)[..., : _index(horizon_s, grid_s) + 1].mean(axis=-1)


def fde(pred: ArrayLike, truth: ArrayLike, horizon_s: float = 5.0, grid_s: float = 0.5) -> F64:
    """Final displacement error: the distance at `horizon_s` -> [...] m."""
    return displacement(pred, truth)[..., _index(horizon_s, grid_s)]


def _index(horizon_s: float, grid_s: float) -> int:
    return round(horizon_s / grid_s) - 1


def bootstrap_over_scenes(
    errors: ArrayLike,
    scenes: Sequence[str],
    statistic: Callable[[F64], float] = lambda e: float(e.mean()),
    n: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """(statistic of all errors, 2.5 and 97.5 % bounds) when whole scenes are drawn with replacement.

    errors: [N]; scenes: the scene of each. Windows of one scene share traffic and overlap in time: drawn singly they would make the
    interval several times too narrow (cluster bootstrap: Davison & Hinkley 1997, section 3.8).
    """
    e = np.asarray(errors, dtype=np.float64)
    groups = [e[np.asarray(scenes) == s] for s in sorted(set(scenes))]
    rng = np.random.default_rng(seed)
    draws = [statistic(np.concatenate([groups[i] for i in rng.integers(len(groups), size=len(groups))])) for _ in range(n)]
    low, high = np.percentile(draws, [2.5, 97.5])
    return statistic(e), float(low), float(high)


RFS_INDEX = (11, 19)
"""3 s and 5 s at 4 Hz."""


def rfs(pred: ArrayLike, raters: Sequence[ArrayLike], scores: Sequence[float], v0_mps: float) -> tuple[float, bool]:
    """Rater feedback score of one frame, and whether the plan lies in one rater's trust region at both 3 s and 5 s.

    pred: [20, 2] m at 4 Hz, t = 0.25 .. 5 s; raters: up to three [T, 2], padded with their last point; scores: 0..10 each;
    v0_mps: present speed. Source: waymo_open_dataset, rater_feedback_utils.py (WOD-E2E, arXiv 2510.26125).

        s(v0) = clip(0.5 + 0.5 (v0 - 1.4) / 9.6, 0.5, 1);  lateral limit s [1, 1.8] m, longitudinal s [4, 7.2] m at 3 and 5 s
        D = max(longitudinal / limit, lateral / limit);    score_t = max over raters of score 0.1^max(D - 1, 0)

    The mean of score_3 and score_5 is raised to 4 unless inside: inside there is no floor. The best rater is taken per time.
    """
    p = np.asarray(pred, dtype=np.float64)
    if p.shape != (20, 2) or not len(raters) or len(raters) != len(scores):
        raise InputError(f"rfs takes [20, 2] and a score per rater: got {p.shape}, {len(raters)} raters, {len(scores)} scores")
    refs = np.stack([_twenty(np.asarray(r, dtype=np.float64)) for r in raters])  # [3, 20, 2]
    scale = float(np.clip(0.5 + 0.5 * (v0_mps - 1.4) / (11.0 - 1.4), 0.5, 1.0))
    lateral_m, longitudinal_m = scale * np.array([1.0, 1.8]), scale * np.array([4.0, 7.2])

    at = list(RFS_INDEX)
    along = np.stack([_directions(r) for r in refs])[:, at]  # [3, 2, 2]
    off = p[at] - refs[:, at]
    lng = np.abs((off * along).sum(-1))
    lat = np.abs(off[..., 1] * along[..., 0] - off[..., 0] * along[..., 1])
    d = np.maximum(lng / longitudinal_m, lat / lateral_m)  # [raters, 2]
    per_time = (np.asarray(scores, dtype=np.float64)[:, None] * 0.1 ** np.maximum(d - 1.0, 0.0)).max(axis=0)
    inside = bool((d <= 1.0).all(axis=1).any())
    score = float(per_time.mean())
    return (score if inside else max(4.0, score)), inside


def _twenty(path: F64) -> F64:
    return np.concatenate([path, np.repeat(path[-1:], 20, axis=0)])[:20]


def _directions(path: F64) -> F64:
    """Unit direction of travel at each point; a standing point keeps the one before, the first looks forward."""
    steps = np.diff(np.concatenate([np.zeros((1, 2)), path]), axis=0)
    out, last = np.empty_like(steps), np.array([1.0, 0.0])
    for i, step in enumerate(steps):
        length = np.linalg.norm(step)
        last = step / length if length > 0 else last
        out[i] = last
    return out
