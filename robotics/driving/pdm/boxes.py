"""Oriented boxes: corners, overlap, and a segment across a box.

A box is (x m, y m, yaw rad, length m, width m), about its centre.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]


def corners(boxes: ArrayLike) -> F64:
    """boxes [..., 5] -> [..., 4, 2] m: front left, front right, rear right, rear left."""
    b = np.asarray(boxes, dtype=np.float64)
    along = np.array([1.0, 1.0, -1.0, -1.0]) * b[..., 3:4] / 2
    aside = np.array([1.0, -1.0, -1.0, 1.0]) * b[..., 4:5] / 2
    c, s = np.cos(b[..., 2:3]), np.sin(b[..., 2:3])
    return b[..., None, :2] + np.stack([c * along - s * aside, s * along + c * aside], axis=-1)


def overlap(a: ArrayLike, b: ArrayLike) -> Bools:
    """Whether boxes a [..., 5] and b [..., 5] touch, broadcast against each other. NaN touches nothing.

    Separating axes: two boxes are apart exactly when they are apart along one of their four sides (Gottschalk 1996).
    """
    p, q = np.broadcast_arrays(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64))
    centre = q[..., :2] - p[..., :2]
    turn = q[..., 2] - p[..., 2]
    c, s = np.abs(np.cos(turn)), np.abs(np.sin(turn))
    half_p, half_q = p[..., 3:5] / 2, q[..., 3:5] / 2
    reach = np.stack([c, s, s, c], axis=-1).reshape(*c.shape, 2, 2)
    with np.errstate(invalid="ignore"):
        near_p = np.abs(_along(centre, p[..., 2])) <= half_p + (reach @ half_q[..., None])[..., 0]
        near_q = np.abs(_along(centre, q[..., 2])) <= half_q + (reach @ half_p[..., None])[..., 0]
    return np.asarray(near_p.all(axis=-1) & near_q.all(axis=-1))


def crosses(segments: ArrayLike, boxes: ArrayLike) -> Bools:
    """Whether segments [..., 2, 2] m touch boxes [..., 5]: a box without width against a box."""
    s = np.asarray(segments, dtype=np.float64)
    d = s[..., 1, :] - s[..., 0, :]
    length = np.hypot(d[..., 0], d[..., 1])
    thin = [s.mean(axis=-2), np.arctan2(d[..., 1], d[..., 0])[..., None], length[..., None], np.zeros_like(length)[..., None]]
    return overlap(np.concatenate(thin, axis=-1), boxes)


def _along(xy: F64, yaw: F64) -> F64:
    """xy [..., 2] in axes turned by yaw [...]."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.stack([c * xy[..., 0] + s * xy[..., 1], c * xy[..., 1] - s * xy[..., 0]], axis=-1)
