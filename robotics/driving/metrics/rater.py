"""Rater feedback score of the WOD-E2E benchmark (arXiv 2510.26125; waymo_open_dataset, rater_feedback_utils.py).

People rated up to three trajectories of a frame, 0 to 10. A plan scores what the trajectory scores that it stays close to, and less
the farther it strays.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge.core.errors import InputError, UnknownNameError

F64 = NDArray[np.float64]

POINTS = 20
RFS_INDEX = (11, 19)
"""3 s and 5 s at 4 Hz."""
RATERS = 3
FLOOR = 4.0
DECAY = 0.1
LATERAL_M, LONGITUDINAL_M = (1.0, 1.8), (4.0, 7.2)
"""Half sizes of the trust region at 3 s and 5 s, from 11 m/s on."""

CLUSTERS = (
    "construction", "intersection", "pedestrian", "cyclist", "multi_lane", "single_lane", "cut_in", "foreign_object_debris",
    "special_vehicle", "spotlight", "others",
)  # fmt: skip


def thresholds(v0_mps: float) -> tuple[F64, F64]:
    """(lateral [2], longitudinal [2]) m at 3 s and 5 s: full from 11 m/s on, half up to 1.4 m/s, linear between."""
    scale = float(np.clip(0.5 + 0.5 * (v0_mps - 1.4) / (11.0 - 1.4), 0.5, 1.0))
    return scale * np.array(LATERAL_M), scale * np.array(LONGITUDINAL_M)


def rfs(pred: ArrayLike, raters: Sequence[ArrayLike], scores: Sequence[float], v0_mps: float) -> tuple[float, bool]:
    """Rater feedback score of one frame, and whether the plan lies in one rater's trust region at both 3 s and 5 s.

    pred: [20, 2] m at 4 Hz, t = 0.25 .. 5 s; raters: [T, 2] each, cut to 20 points or padded with the last one, of more than three
    the first three; scores: 0..10 each; v0_mps: present speed.

        D = max(longitudinal / limit, lateral / limit);    score_t = max over raters of score 0.1^max(D - 1, 0)

    The mean of score_3 and score_5 is raised to 4 unless inside: inside there is no floor. The best rater is taken per time.
    Raises InputError for other shapes, and for frames that nobody rated (no trajectory, an empty one, a negative score).
    """
    p, refs, labels = _checked(pred, raters, scores)
    lateral_m, longitudinal_m = thresholds(v0_mps)
    at = list(RFS_INDEX)
    along = np.stack([_directions(r) for r in refs])[:, at]  # [raters, 2 times, 2]
    off = p[at] - refs[:, at]
    lng = np.abs((off * along).sum(-1))
    lat = np.abs(off[..., 1] * along[..., 0] - off[..., 0] * along[..., 1])
    d = np.maximum(lng / longitudinal_m, lat / lateral_m)  # [raters, 2 times]
    per_time = (labels[:, None] * DECAY ** np.maximum(d - 1.0, 0.0)).max(axis=0)
    inside = bool((d <= 1.0).all(axis=1).any())
    score = float(per_time.mean())
    return (score if inside else max(FLOOR, score)), inside


def best_rated(raters: Sequence[ArrayLike], scores: Sequence[float]) -> F64:
    """[20, 2] m: the trajectory of the highest score, the first of equals. The leaderboard's ADE is measured against it, not
    against what was driven (metrics.proto)."""
    _, refs, labels = _checked(np.zeros((POINTS, 2)), raters, scores)
    return refs[int(labels.argmax())]


def cluster_mean(scores: Sequence[float], clusters: Sequence[str]) -> tuple[float, dict[str, float]]:
    """The leaderboard's average: the mean of the means of the eleven clusters of scenes, not of the frames; and each cluster's.

    scores: of every frame; clusters: its cluster, one of CLUSTERS. Raises UnknownNameError for another, InputError when a cluster
    has no frame: the average of the others is another number.
    """
    for c in set(clusters):
        if c not in CLUSTERS:
            raise UnknownNameError("cluster", c, CLUSTERS)
    s, where = np.asarray(scores, dtype=np.float64), np.asarray(clusters)
    missing = sorted(set(CLUSTERS) - set(clusters))
    if missing or len(s) != len(where):
        raise InputError(f"an average over clusters needs frames of all eleven, a cluster each: {', '.join(missing) or len(where)}")
    means = {c: float(s[where == c].mean()) for c in CLUSTERS}
    return float(np.mean(list(means.values()))), means


def _checked(pred: ArrayLike, raters: Sequence[ArrayLike], scores: Sequence[float]) -> tuple[F64, F64, F64]:
    """Plan [20, 2], references [1..3, 20, 2] and labels [1..3]. Fewer than three are not repeated: a maximum does not mind."""
    p = np.asarray(pred, dtype=np.float64)
    if p.shape != (POINTS, 2) or not np.isfinite(p).all() or not len(raters) or len(raters) != len(scores):
        got = f"{list(p.shape)}, {len(raters)} raters, {len(scores)} scores"
        raise InputError(f"rfs takes a finite plan [20, 2] and a score per rater: got {got}")
    paths = [np.asarray(r, dtype=np.float64) for r in raters[:RATERS]]
    labels = np.asarray(scores[:RATERS], dtype=np.float64)
    for path, label in zip(paths, labels, strict=True):
        if path.ndim != 2 or path.shape[1] != 2 or not len(path) or not np.isfinite(path).all() or not label >= 0:
            got = f"{list(path.shape)}, {label}"
            raise InputError(f"rfs: a rater has [T, 2] finite metres and a score from 0 on: got {got}; leave it out")
    return p, np.stack([_twenty(path) for path in paths]), labels


def _twenty(path: F64) -> F64:
    return np.concatenate([path, np.repeat(path[-1:], POINTS, axis=0)])[:POINTS]


def _directions(path: F64) -> F64:
    """Unit direction of travel at each point; a standing point keeps the one before, the first looks forward."""
    steps = np.diff(np.concatenate([np.zeros((1, 2)), path]), axis=0)
    out, last = np.empty_like(steps), np.array([1.0, 0.0])
    for i, step in enumerate(steps):
        length = np.linalg.norm(step)
        last = step / length if length > 0 else last
        out[i] = last
    return out
