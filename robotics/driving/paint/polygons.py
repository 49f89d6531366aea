"""Polygons by the thousand: kept in one array, clipped at the near plane, projected and filled in their order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robotics.driving.paint.camera import Rig, focal, to_pixels
from robotics.driving.paint.opencv import cv2
from robotics.driving.scene import F32

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]

_SHIFT = 4
"""Fractional bits of the coordinates given to OpenCV."""


@dataclass(frozen=True, slots=True)
class Polygons:
    """N polygons in one array: points [V, 2 or 3], sizes [N], paint [N, 3] RGB."""

    points: F32
    sizes: I64
    paint: U8

    def starts(self) -> I64:
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]])

    def keep(self, which: NDArray[np.bool_]) -> Polygons:
        return Polygons(self.points[np.repeat(which, self.sizes)], self.sizes[which], self.paint[which])

    def any(self, of_points: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """[V] -> [N]: whether it holds for any point of the polygon."""
        if not len(self.sizes):
            return np.zeros(0, dtype=bool)
        return np.logical_or.reduceat(of_points, self.starts())


def _visible(polygons: Polygons, size: tuple[int, int], rig: Rig) -> Polygons:
    """Camera-frame polygons that are not wholly behind the near plane or beside the picture."""
    x, _, z = polygons.points.T
    edge = z * (size[1] / 2 / focal(size, rig))
    return polygons.keep(polygons.any(z >= rig.near_m) & polygons.any(x <= edge) & polygons.any(x >= -edge))


def _clip_near(polygons: Polygons, near: float) -> Polygons:
    """Sutherland-Hodgman at z = near, all polygons at once: a point gives itself if in front, then its edge's crossing."""
    p, starts = polygons.points, polygons.starts()
    inside = p[:, 2] >= near
    if inside.all():
        return polygons
    following = np.arange(1, len(p) + 1)
    following[starts + polygons.sizes - 1] = starts
    crossing = inside != inside[following]
    q = p[following]
    t = (near - p[:, 2]) / np.where(crossing, q[:, 2] - p[:, 2], 1.0)
    both = np.stack([p, p + t[:, None] * (q - p)], axis=1).astype(np.float32)
    keep = np.stack([inside, crossing], axis=1)
    return Polygons(both[keep], np.add.reduceat(keep.sum(axis=1), starts), polygons.paint)


def draw(image: U8, polygons: Polygons, size: tuple[int, int], rig: Rig) -> None:
    """Fill camera-frame polygons in their order."""
    polygons = _visible(polygons, size, rig)
    if not len(polygons.sizes):
        return
    polygons = _clip_near(polygons, rig.near_m)
    pixels = np.rint(to_pixels(polygons.points, size, rig) * (1 << _SHIFT)).astype(np.int32)
    at = 0
    for n, paint in zip(polygons.sizes.tolist(), polygons.paint.tolist(), strict=True):
        cv2.fillPoly(image, [pixels[at : at + n]], paint, cv2.LINE_8, _SHIFT)
        at += n
