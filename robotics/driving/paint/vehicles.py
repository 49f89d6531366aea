"""Vehicles as polygons: boxes with a shadow, shaded faces, lamps and windows.

Red lamps are lit on vehicles that brake (-1 m/s2 over the last 0.3 s) or stand: the only cue to what a leader is about to do.
"""

from __future__ import annotations

import math
import zlib

import numpy as np
from numpy.typing import NDArray

from robotics.driving.paint.camera import Rig
from robotics.driving.paint.polygons import Polygons
from robotics.driving.scene import F32, Scene

BRAKING_MPS2 = -1.0
STANDING_MPS = 0.3
_LAMP_STEPS = 3


def _end(x: float, low: float, high: float, side: float = 1.0) -> list[tuple[float, float, float]]:
    """A rectangle in the plane of the rear (x = -1) or the front (x = 1) of the unit box."""
    return [(x, -side, low), (x, side, low), (x, side, high), (x, -side, high)]


def _flank(y: float, low: float, high: float, rear: float = -1.0, front: float = 1.0) -> list[tuple[float, float, float]]:
    return [(rear, y, low), (front, y, low), (front, y, high), (rear, y, high)]


def _flat(z: float, grow: float = 1.0) -> list[tuple[float, float, float]]:
    return [(-grow, -grow, z), (grow, -grow, z), (grow, grow, z), (-grow, grow, z)]


_FACES = np.array(
    [
        _flat(0.0, 1.08),  # shadow
        _end(-1, 0.12, 1.0), _end(1, 0.12, 1.0), _flank(-1, 0.12, 1.0), _flank(1, 0.12, 1.0), _flat(1.0),
        _end(-1, 0.66, 0.92, 0.82), _end(1, 0.62, 0.92, 0.82),  # rear and front window
        _flank(-1, 0.62, 0.9, -0.7, 0.45), _flank(1, 0.62, 0.9, -0.7, 0.45),  # side windows
        _end(-1, 0.3, 0.62), _end(1, 0.34, 0.52),  # lamps
    ],
    dtype=np.float32,
)  # fmt: skip
"""[12 faces, 4 corners, 3]: x and y in half lengths and half widths, z in heights; in painting order."""
_SEEN_FROM = np.array([-1, 0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 1])
"""Which outer side a face lies on: 0 rear, 1 front, 2 right, 3 left, 4 top; -1 is always seen."""
_SHADE = np.array([0, 0.8, 0.85, 0.62, 0.66, 1.0], dtype=np.float32)
_GLASS, _HEADLAMP, _LAMP_OFF, _LAMP_ON = (52, 62, 74), (250, 244, 205), (120, 28, 28), (255, 20, 20)


class Vehicles:
    """The tracks of a scene on a common clock, each with a paint of its own, drawn from `name` and its number."""

    def __init__(self, scene: Scene, name: str, shadow: tuple[float, ...]) -> None:
        tracks = tuple(scene.tracks.values())
        self.dt_s = scene.dt_s
        self.first = min((t.first for t in tracks), default=0)
        steps = max((t.first + len(t) for t in tracks), default=0) - self.first
        self.states = np.full((steps, len(tracks), 4), np.nan)  # x, y, yaw, speed
        for k, t in enumerate(tracks):
            at = slice(t.first - self.first, t.first - self.first + len(t))
            self.states[at, k, :2], self.states[at, k, 2], self.states[at, k, 3] = t.xy, t.yaw, t.speed
        self.row = {t.track_id: k for k, t in enumerate(tracks)}
        size = np.array([(t.length_m, t.width_m) for t in tracks], np.float32).reshape(-1, 2)
        self.size = np.concatenate([size / 2, _heights(size[:, :1])], axis=1)  # half length, half width, height
        body = np.empty((len(tracks), 3), np.float32)
        for k, t in enumerate(tracks):
            rng = np.random.default_rng(zlib.crc32(f"{name}:{t.track_id}".encode()))
            body[k] = rng.uniform(205, 250) + rng.uniform(-28, 5, 3)
        paint = np.empty((len(tracks), len(_FACES), 3), np.float32)
        paint[:, 1:6] = np.clip(body[:, None] * _SHADE[1:, None], 0, 255)
        paint[:, 0], paint[:, 6:10], paint[:, 10], paint[:, 11] = shadow, _GLASS, _LAMP_OFF, _HEADLAMP
        self.paint = paint.astype(np.uint8)

    def pose(self, step: int, track_id: int) -> NDArray[np.float64]:
        """(x, y, yaw) [3] of a track, scene frame."""
        return self.states[step - self.first, self.row[track_id], :3]

    def boxes(self, step: int, ego: int, rig: Rig) -> Polygons:
        """Faces of the vehicles within reach, but for track `ego`, in its frame, far to near; faces turned away are left out."""
        pose = self.pose(step, ego)
        now, before = self.states[step - self.first], self.states[max(step - self.first - _LAMP_STEPS, 0)]
        d = now[:, :2] - pose[:2]
        distance = np.hypot(d[:, 0], d[:, 1])
        near = distance < rig.far_m  # false for NaN: absent at this step
        near[self.row[ego]] = False
        rows = near.nonzero()[0]
        rows = rows[np.argsort(-distance[rows], kind="stable")]
        d, size, yaw = d[rows], self.size[rows], (now[rows, 2] - pose[2]).astype(np.float32)
        c, s = math.cos(pose[2]), math.sin(pose[2])
        centre = np.stack([c * d[:, 0] + s * d[:, 1], -s * d[:, 0] + c * d[:, 1]], axis=1).astype(np.float32)
        cy, sy = np.cos(yaw), np.sin(yaw)
        # The camera in the frame of each box: beyond which sides does it stand?
        ahead, aside = -cy * centre[:, 0] - sy * centre[:, 1], sy * centre[:, 0] - cy * centre[:, 1]
        beyond = [ahead < -size[:, 0], ahead > size[:, 0], aside < -size[:, 1], aside > size[:, 1]]
        seen = np.stack([*beyond, size[:, 2] < rig.height_m, np.ones(len(rows), bool)], axis=1)[:, _SEEN_FROM]
        v = _FACES * size[:, None, None]
        x = centre[:, 0, None, None] + cy[:, None, None] * v[..., 0] - sy[:, None, None] * v[..., 1]
        y = centre[:, 1, None, None] + sy[:, None, None] * v[..., 0] + cy[:, None, None] * v[..., 1]
        corners = np.stack([x, y, v[..., 2]], axis=-1)
        paint = self.paint[rows].copy()
        with np.errstate(invalid="ignore"):
            slowing = (now[rows, 3] - before[rows, 3]) / (_LAMP_STEPS * self.dt_s) < BRAKING_MPS2
        paint[slowing | (now[rows, 3] < STANDING_MPS), 10] = _LAMP_ON
        return Polygons(corners[seen].reshape(-1, 3), np.full(int(seen.sum()), 4, np.int64), paint[seen])


def _heights(lengths: F32) -> F32:
    return np.where(lengths > 8.0, 3.2, np.where(lengths > 6.0, 2.1, 1.48)).astype(np.float32)
