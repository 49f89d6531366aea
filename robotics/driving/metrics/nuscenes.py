"""Open-loop planning on nuScenes: L2 and collision over 3 s, in the two conventions that papers mix up.

UniAD ("NoAvg") gives the value *at* 1, 2 and 3 s; ST-P3 and VAD ("TemAvg") the mean over all steps *up to* them, which is always
smaller for errors that grow. The same model has been published with an average L2 of 1.03, 0.66 and 0.46 m. A planner that reads
the ego's own motion scores far better than one that does not, without seeing anything (arXiv 2305.10430, 2312.03031). So a result
carries both facts and cannot be printed without them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge.core.errors import InputError, UnknownNameError
from robotics.driving.metrics.displacement import displacement
from robotics.driving.metrics.grid import CELLS, Bools, box_hits, centre_hits, occupancy

__all__ = ["OpenLoop", "occupancy", "open_loop"]

F64 = NDArray[np.float64]
Convention = Literal["UniAD", "ST-P3"]

STEPS = 6
_AT = (1, 3, 5)
"""1, 2 and 3 s on a 0.5 s grid."""
_LONG_NAMES = {"UniAD": "UniAD (NoAvg: at the step)", "ST-P3": "ST-P3/VAD (TemAvg: mean up to the step)"}


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Values at 1, 2 and 3 s, and their mean. collision: of the box, the one papers report; centre_collision: of the point."""

    convention: Convention
    ego_status: bool
    frames: int
    l2_m: tuple[float, float, float]
    collision: tuple[float, float, float]
    centre_collision: tuple[float, float, float]

    @property
    def l2_avg_m(self) -> float:
        return float(np.mean(self.l2_m))

    @property
    def collision_avg(self) -> float:
        return float(np.mean(self.collision))

    def __str__(self) -> str:
        l2 = " / ".join(f"{v:.2f}" for v in (*self.l2_m, self.l2_avg_m))
        hit = " / ".join(f"{v:.2%}" for v in (*self.collision, self.collision_avg))
        status = "with" if self.ego_status else "without"
        where = f"{_LONG_NAMES[self.convention]}, {status} ego status, {self.frames} frames"
        return f"L2 1/2/3 s/avg {l2} m; collision {hit} [{where}]"


def open_loop(pred: ArrayLike, truth: ArrayLike, occupied: Bools | None, *, convention: Convention, ego_status: bool) -> OpenLoop:
    """Score plans in one convention.

    pred, truth: [F, 6, 2] m at 0.5 .. 3 s, ego frame (x forward, y left); occupied: [F, 6, 200, 200] of `occupancy` (None leaves
    the collisions NaN); ego_status: whether the planner was given the ego's speed or past motion. Steps at which the true path
    itself collides are left out of the collisions counted, but not out of what they are divided by. Raises InputError for other
    shapes or values that are not finite, UnknownNameError for another convention.
    """
    if convention not in get_args(Convention):
        raise UnknownNameError("convention", convention, get_args(Convention))
    p, q = np.asarray(pred, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if p.shape != q.shape or p.ndim != 3 or p.shape[1:] != (STEPS, 2) or not len(p):
        raise InputError(f"nuScenes plans and futures are [F, 6, 2], 0.5 s apart: got {list(p.shape)} and {list(q.shape)}")
    if not (np.isfinite(p).all() and np.isfinite(q).all()):
        raise InputError("nuScenes plans and futures are finite: leave out frames without 3 s of future")
    if occupied is not None and occupied.shape != (*p.shape[:2], CELLS, CELLS):
        raise InputError(f"occupied is [F, 6, 200, 200], got {list(occupied.shape)}")
    box = centre = np.full(STEPS, np.nan)
    if occupied is not None:
        innocent = ~box_hits(q, occupied)
        box = (box_hits(p, occupied) & innocent).mean(axis=0)
        centre = (centre_hits(p, occupied) & innocent).mean(axis=0)
    values = (_at(v, convention) for v in (displacement(p, q).mean(axis=0), box, centre))
    return OpenLoop(convention, ego_status, len(p), *values)


def _at(per_step: F64, convention: Convention) -> tuple[float, float, float]:
    a, b, c = (float(per_step[k] if convention == "UniAD" else per_step[: k + 1].mean()) for k in _AT)
    return a, b, c
