"""What the three cameras of a vehicle would see, painted: road, lines and boxes in perspective, back to front.

Everything drawn is a polygon: surfaces of the lanes, then lines, then vehicles from far to near, over a sky and a ground. Colours
are drawn from the scene's name.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from edge.core.errors import InputError
from robotics.driving.paint.camera import RIG, Rig, project, to_camera
from robotics.driving.paint.opencv import cv2
from robotics.driving.paint.polygons import U8, Polygons, draw
from robotics.driving.paint.road import Road, paint_road
from robotics.driving.paint.vehicles import BRAKING_MPS2, Vehicles
from robotics.driving.scene import CAMERAS, F32, Scene
from robotics.driving.windows import MIRRORED

__all__ = ["BRAKING_MPS2", "RIG", "Rig", "project", "render", "road_polygons"]

_SUPER = 2
"""Painted at twice the size and averaged: far lines and vehicles fade instead of flickering."""


class _Painter:
    """One scene made ready: its road, its vehicles, and its colours, drawn from its name."""

    def __init__(self, scene: Scene) -> None:
        # A mirrored scene keeps the colours of its original, so that its pictures are the mirrored pictures.
        name = scene.name.removesuffix(MIRRORED)
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        grey = rng.uniform(62, 92)
        asphalt = _tint(rng, (grey, grey, grey + 3), 4)
        self.ground = _tint(rng, ((122, 138, 96), (150, 142, 118), (136, 136, 130), (108, 132, 92))[rng.integers(4)], 10)
        self.sky = _tint(rng, ((150, 190, 230), (190, 205, 220), (205, 208, 212), (228, 205, 180))[rng.integers(4)], 10)
        white, yellow = _tint(rng, (226, 226, 222), 10), _tint(rng, (222, 184, 70), 10)
        self._backgrounds: dict[tuple[int, int], U8] = {}
        lanes = scene.lanes
        self.road = _kept(_roads, (id(lanes), name), lanes, lambda: paint_road(lanes, asphalt, white, yellow))
        self.vehicles = Vehicles(scene, name, shadow=tuple(0.45 * c for c in asphalt))

    def frame(self, step: int, ego: int, size: tuple[int, int], rig: Rig) -> U8:
        big = (size[0] * _SUPER, size[1] * _SUPER)
        layers = self.road.within(rig.far_m, self.vehicles.pose(step, ego)), self.vehicles.boxes(step, ego, rig)
        images = np.empty((len(CAMERAS), *size, 3), np.uint8)
        for camera in range(len(CAMERAS)):
            image = self._background(big).copy()
            for layer in layers:
                draw(image, Polygons(to_camera(layer.points, camera, rig), layer.sizes, layer.paint), big, rig)
            cv2.resize(image, size[::-1], dst=images[camera], interpolation=cv2.INTER_AREA)
        return images

    def _background(self, size: tuple[int, int]) -> U8:
        """Sky and ground, both paler towards the horizon, which flat ground has at the middle of the picture."""
        if size not in self._backgrounds:
            h, w = size
            rows = (np.arange(h) - (h - 1) / 2) / (h / 2)  # -1 top, 0 horizon, 1 bottom
            sky, ground = np.array(self.sky), np.array(self.ground)
            haze = np.exp(-np.abs(rows) * np.where(rows < 0, 3.0, 14.0))[:, None]
            colour = np.where(rows[:, None] < 0, sky * 0.96, ground) * (1 - haze) + (0.5 * sky + 120) * haze
            self._backgrounds[size] = np.repeat(np.clip(colour, 0, 255).astype(np.uint8)[:, None], w, axis=1)
        return self._backgrounds[size]


def _tint(rng: np.random.Generator, colour: tuple[float, float, float], spread: float) -> tuple[float, ...]:
    return tuple(float(v) for v in np.clip(np.array(colour) + rng.uniform(-spread, spread, 3), 0, 255))


_Made = TypeVar("_Made")
_painters: OrderedDict[int, tuple[object, _Painter]] = OrderedDict()
_roads: OrderedDict[tuple[int, str], tuple[object, Road]] = OrderedDict()
"""What was made for the last few scenes and roads. Roads are kept on their own: a closed loop makes a new scene at each step, of
the same lanes."""
_KEPT = 8


def _kept(cache: OrderedDict[Any, tuple[object, _Made]], key: object, owner: object, make: Callable[[], _Made]) -> _Made:
    """The cached thing, or a new one. The cache holds `owner`, so that an id in `key` stays the id of that object."""
    if key not in cache:
        cache[key] = owner, make()
        while len(cache) > _KEPT:
            cache.popitem(last=False)
    cache.move_to_end(key)
    return cache[key][1]


def _painter(scene: Scene) -> _Painter:
    return _kept(_painters, id(scene), scene, lambda: _Painter(scene))


def render(scene: Scene, step: int, ego_track_id: int, size: tuple[int, int] = (112, 112), rig: Rig = RIG) -> U8:
    """The three camera pictures of `ego_track_id` at `step`: uint8 [3, H, W, 3], RGB, in the order of CAMERAS.

    size: (H, W) px. The ego itself is not drawn. Colours vary from scene to scene with the scene's name and are the same in
    every process. Raises InputError for a track that the scene lacks or that is absent at `step`, or a size below 8 px.
    """
    if ego_track_id not in scene.tracks:
        raise InputError(f"{scene.name}: no track {ego_track_id} to render from; it has {len(scene.tracks)} tracks")
    ego = scene.tracks[ego_track_id]
    if not ego.covers(step, step + 1):
        raise InputError(
            f"{scene.name}: track {ego_track_id} is absent at step {step}; "
            f"choose one from {ego.first} to {ego.first + len(ego) - 1}"
        )
    if min(size) < 8:
        raise InputError(f"size {size}: pictures need at least 8 by 8 px; the default is (112, 112)")
    return _painter(scene).frame(step, ego_track_id, size, rig)


def road_polygons(
    scene: Scene, pose: tuple[float, float, float], reach_m: float = 80.0
) -> list[tuple[F32, tuple[float, float, float]]]:
    """The road as it is painted, for other drawings: polygons [n, 2] m in the frame of `pose` (x, y, yaw) that come within
    `reach_m`, each with its RGB in 0..1, in painting order: surfaces of the lanes, then lines.
    """
    ground = _painter(scene).road.within(reach_m, np.array(pose, dtype=np.float64))
    parts = np.split(ground.points[:, :2], np.cumsum(ground.sizes)[:-1]) if len(ground.sizes) else []
    return [(part, (r / 255, g / 255, b / 255)) for part, (r, g, b) in zip(parts, ground.paint.tolist(), strict=True)]
