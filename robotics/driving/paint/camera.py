"""Where points fall in the pictures of the three cameras.

Camera frame: x right, y down, z forward, metres, origin at the ego's reference point, `height_m` above flat ground. Pixel (0, 0)
is the centre of the top left pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.core.errors import UnknownNameError
from robotics.driving.scene import CAMERAS, F32


@dataclass(frozen=True, slots=True)
class Rig:
    """Three pinhole cameras on one pole. yaw_deg follows CAMERAS, counter-clockwise; fov_deg is horizontal."""

    yaw_deg: tuple[float, float, float] = (55.0, 0.0, -55.0)
    fov_deg: float = 70.0
    height_m: float = 1.5
    near_m: float = 0.5
    far_m: float = 80.0


RIG = Rig()


def focal(size: tuple[int, int], rig: Rig) -> float:
    return size[1] / 2 / math.tan(math.radians(rig.fov_deg) / 2)


def to_camera(points: NDArray[np.floating], camera: int, rig: Rig) -> F32:
    """Ego-frame points [..., 3] (x forward, y left, z up) -> camera frame [..., 3]."""
    a = math.radians(rig.yaw_deg[camera])
    c, s = math.cos(a), math.sin(a)
    turn = np.array([[s, 0, c], [-c, 0, s], [0, -1, 0]], dtype=np.float32)
    return np.asarray(points, np.float32) @ turn + np.array([0, rig.height_m, 0], dtype=np.float32)


def to_pixels(points: F32, size: tuple[int, int], rig: Rig) -> F32:
    f = focal(size, rig)
    centre = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2], dtype=np.float32)
    return np.asarray(points[:, :2] * (f / points[:, 2:]) + centre, dtype=np.float32)


def project(
    points_ego: NDArray[np.floating], camera: str, size: tuple[int, int] = (112, 112), rig: Rig = RIG
) -> tuple[F32, NDArray[np.bool_]]:
    """Ego-frame points [n, 3] m into a camera: (uv [n, 2] px, column then row; in_front [n]).

    size: (height, width). uv of a point that is not in front (nearer than the near plane) is NaN. Raises UnknownNameError
    for a camera that is not one of CAMERAS.
    """
    if camera not in CAMERAS:
        raise UnknownNameError("camera", camera, CAMERAS)
    p = to_camera(np.asarray(points_ego, dtype=np.float64).reshape(-1, 3), CAMERAS.index(camera), rig)
    in_front = p[:, 2] >= rig.near_m
    uv = np.full((len(p), 2), np.nan, dtype=np.float32)
    uv[in_front] = to_pixels(p[in_front], size, rig)
    return uv, in_front
