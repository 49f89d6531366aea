"""The grid on which nuScenes planners are tested for collision: 100 m by 100 m about the ego, cells of half a metre.

Ego frame, x forward along the first axis, y left along the second. Everything here reproduces a published procedure down to its
rounding (ST-P3, from there UniAD's planning_metrics.py and VAD's metric_stp3.py), since a cell more or less decides a collision.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robotics.driving.pdm.boxes import corners

F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

HALF_M, CELL_M = 50.0, 0.5
CELLS = 200
FIRST_M = -HALF_M + CELL_M / 2
"""Centre of the first cell."""
EGO_M, EGO_SHIFT_M = (4.084, 1.85), 0.5


def occupancy(boxes: ArrayLike) -> Bools:
    """Cells that boxes [T, N, 5] (x m, y m, yaw rad, length m, width m; NaN where absent) cover: [T, 200, 200].

    Corners are rounded to cells and the polygon between them is filled with its outline, as OpenCV's fillPoly does it: cell for
    cell inside the grid. Of a box that the border cuts, OpenCV cuts the sides first, which can shift cells of its outline there.
    """
    b = np.asarray(boxes, dtype=np.float64)
    out = np.zeros((len(b), CELLS, CELLS), dtype=bool)
    at = (corners(b) + HALF_M) / CELL_M  # cell edges, not centres: so the published code has it
    for t, n in zip(*np.nonzero(np.isfinite(at).all(axis=(2, 3))), strict=True):
        _fill(out[t], np.round(at[t, n]).astype(np.int64))
    return out


def _fill(image: Bools, corner: Ints) -> None:
    """Fill the convex polygon of integer corners [4, 2], with its outline."""
    low, high = corner.min(axis=0).clip(0, CELLS), (corner.max(axis=0) + 1).clip(0, CELLS)
    if (low >= high).any():
        return
    x, y = np.mgrid[low[0] : high[0], low[1] : high[1]]
    sides = []
    for a, b in zip(corner, np.roll(corner, -1, axis=0), strict=True):
        sides.append((b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]))
    turn = np.stack(sides)
    image[low[0] : high[0], low[1] : high[1]] |= (turn >= 0).all(axis=0) | (turn <= 0).all(axis=0)
    for px, py in _outline(corner):
        keep = (px >= 0) & (px < CELLS) & (py >= 0) & (py < CELLS)
        image[px[keep], py[keep]] = True


def _outline(corner: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Cells of the four sides by Bresenham's rule: a step of the longer axis, the nearest of the shorter one.

    OpenCV walks in the direction of its columns (the second axis), so that of two equally near cells it takes the earlier one.
    """
    for a, b in zip(corner, np.roll(corner, -1, axis=0), strict=True):
        p, q = (a, b) if a[1] <= b[1] else (b, a)
        d = np.abs(q - p)
        long = int(d[0] > d[1])  # 1: the first axis is the longer one
        n, m = (int(d[0]), int(d[1])) if long else (int(d[1]), int(d[0]))
        i = np.arange(n + 1)
        j = -((n - 2 * m * i) // max(2 * n, 1))
        x, y = (i, j) if long else (j, i)
        yield p[0] + np.sign(q[0] - p[0]) * x, p[1] + np.sign(q[1] - p[1]) * y


def _ego_cells() -> tuple[Ints, Ints]:
    """Cells [32] whose centres lie in the ego's box when it stands at the origin: 8 along, 4 across."""
    length, width = EGO_M
    centres = FIRST_M + CELL_M * np.arange(CELLS)
    along, across = np.flatnonzero(np.abs(centres - EGO_SHIFT_M) < length / 2), np.flatnonzero(np.abs(centres) < width / 2)
    x, y = np.meshgrid(along, across, indexing="ij")
    return x.ravel(), y.ravel()


def box_hits(path: ArrayLike, occupied: Bools) -> Bools:
    """Whether the ego's box touches an occupied cell: path [..., T, 2] m, occupied [..., T, 200, 200] -> [..., T].

    The box is 4.084 m by 1.85 m, half a metre ahead of the point, and never turned. Cells beyond the grid count as its border.
    """
    p = np.asarray(path, dtype=np.float64) / CELL_M
    cells = [np.clip((p[..., k, None] + at).astype(np.int64), 0, CELLS - 1) for k, at in enumerate(_ego_cells())]
    return np.asarray(_look(occupied, *cells).any(axis=-1))


def centre_hits(path: ArrayLike, occupied: Bools) -> Bools:
    """Whether the point itself lies in an occupied cell: [..., T]. Points beyond the grid hit nothing."""
    cell = ((np.asarray(path, dtype=np.float64) - FIRST_M) / CELL_M).astype(np.int64)  # toward zero
    inside = ((cell >= 0) & (cell < CELLS)).all(axis=-1)
    cell = np.clip(cell, 0, CELLS - 1)
    return _look(occupied, cell[..., :1], cell[..., 1:])[..., 0] & inside


def _look(occupied: Bools, x: Ints, y: Ints) -> Bools:
    """occupied [..., T, 200, 200] at cells [..., T, C] -> [..., T, C]."""
    flat = occupied.reshape(-1, CELLS, CELLS)
    rows = np.arange(len(flat))[:, None]
    return flat[rows, x.reshape(len(flat), -1), y.reshape(len(flat), -1)].reshape(x.shape)
