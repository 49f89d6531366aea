"""What a driven or planned stretch is made of: the ego's poses, and the boxes of everyone else. Shapes: `T` steps, `N` agents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.core.errors import InputError
from robotics.driving.scene import Scene

F64 = NDArray[np.float64]

REAR_AXLE = 0.28
"""How far the rear axle lies behind the centre, in lengths (nuPlan's Pacifica: 1.461 m of 5.176 m)."""


@dataclass(frozen=True, slots=True)
class Ego:
    """poses: [T, 3] x m, y m, yaw rad of the centre of the box, scene frame; speed: [T] m/s; size: length and width, m."""

    poses: F64
    speed: F64
    size: tuple[float, float]
    dt_s: float = 0.1

    def __post_init__(self) -> None:
        if self.poses.ndim != 2 or self.poses.shape[1] != 3 or self.speed.shape != self.poses.shape[:1] or not len(self.poses):
            raise InputError(f"ego: poses are [T, 3] and speed [T], got {list(self.poses.shape)} and {list(self.speed.shape)}")
        if not (np.isfinite(self.poses).all() and np.isfinite(self.speed).all()):
            raise InputError("ego: poses and speeds are finite; drop the steps that are not known")

    def __len__(self) -> int:
        return len(self.poses)

    def boxes(self) -> F64:
        """[T, 5], see `boxes`."""
        return np.concatenate([self.poses, np.broadcast_to(self.size, (len(self), 2))], axis=1)

    def heading(self) -> F64:
        """Unit vectors [T, 2]."""
        return np.stack([np.cos(self.poses[:, 2]), np.sin(self.poses[:, 2])], axis=1)


@dataclass(frozen=True, slots=True)
class Agents:
    """boxes: [T, N, 5] as in `boxes`, NaN where absent; speed: [T, N] m/s; static: [N], things that are no road users.

    The steps are those of the ego's poses; more of them than poses are welcome: time to collision looks ahead.
    """

    boxes: F64
    speed: F64
    static: NDArray[np.bool_]

    def __post_init__(self) -> None:
        shape = self.boxes.shape
        if len(shape) != 3 or shape[2] != 5 or self.speed.shape != shape[:2] or self.static.shape != shape[1:2]:
            got = [list(a.shape) for a in (self.boxes, self.speed, self.static)]
            raise InputError(f"agents: boxes are [T, N, 5], speed [T, N], static [N], got {got}")


def agents_of(scene: Scene, ego_track_id: int, first: int, steps: int) -> Agents:
    """Everyone but the ego over `steps` steps from `first`, as recorded. Raises InputError for no steps."""
    if steps < 1:
        raise InputError(f"steps {steps}: agents are read over at least one step")
    others = [t for k, t in scene.tracks.items() if k != ego_track_id and t.first < first + steps and first < t.first + len(t)]
    boxes, speed = np.full((steps, len(others), 5), np.nan), np.full((steps, len(others)), np.nan)
    for n, t in enumerate(others):
        low, high = max(t.first, first), min(t.first + len(t), first + steps)
        to, of = slice(low - first, high - first), slice(low - t.first, high - t.first)
        boxes[to, n, :2], boxes[to, n, 2], speed[to, n] = t.xy[of], t.yaw[of], t.speed[of]
        boxes[to, n, 3:] = t.length_m, t.width_m
    return Agents(boxes, speed, np.zeros(len(others), dtype=bool))
