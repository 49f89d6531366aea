"""What the three cameras of a vehicle would see, painted: road, lines and boxes in perspective, back to front.

Camera frame: x right, y down, z forward, metres, origin at the ego's reference point, `height_m` above flat ground. Pixel (0, 0)
is the centre of the top left pixel. Everything drawn is a polygon in that frame, clipped at the near plane and projected:
surfaces of the lanes, then lines, then vehicles from far to near with a shadow, three shaded faces, lamps and windows.
Red lamps are lit on vehicles that brake (-1 m/s2 over the last 0.3 s) or stand: the only cue to what a leader is about to do.
"""

from __future__ import annotations

import math
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge.core.errors import InputError, MissingExtraError, UnknownNameError
from robotics.driving.scene import CAMERAS, F32, Scene
from robotics.driving.windows import MIRRORED

try:
    import cv2
except ImportError as e:
    raise MissingExtraError("opencv-python-headless", "drive", "painting camera pictures") from e

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rig:
    """Three pinhole cameras on one pole. yaw_deg follows CAMERAS, counter-clockwise; fov_deg is horizontal."""

    yaw_deg: tuple[float, float, float] = (55.0, 0.0, -55.0)
    fov_deg: float = 70.0
    height_m: float = 1.5
    near_m: float = 0.5
    far_m: float = 80.0


RIG = Rig()

BRAKING_MPS2 = -1.0
STANDING_MPS = 0.3
_LAMP_STEPS = 3
_LINE_M, _STEP_M, _DASH = 0.18, 1.5, (2, 6)
"""Width of a line, spacing of resampled bounds, and segments painted of each period of a dashed line (3 m of 9 m)."""
_SHIFT = 4
"""Fractional bits of the coordinates given to OpenCV."""
_SUPER = 2
"""Painted at twice the size and averaged: far lines and vehicles fade instead of flickering."""


# --- projection -------------------------------------------------------------------------------------------------------------


def _focal(size: tuple[int, int], rig: Rig) -> float:
    return size[1] / 2 / math.tan(math.radians(rig.fov_deg) / 2)


def _to_camera(points: NDArray[np.floating], camera: int, rig: Rig) -> F32:
    """Ego-frame points [..., 3] (x forward, y left, z up) -> camera frame [..., 3]."""
    a = math.radians(rig.yaw_deg[camera])
    c, s = math.cos(a), math.sin(a)
    turn = np.array([[s, 0, c], [-c, 0, s], [0, -1, 0]], dtype=np.float32)
    return np.asarray(points, np.float32) @ turn + np.array([0, rig.height_m, 0], dtype=np.float32)


def _to_pixels(points: F32, size: tuple[int, int], rig: Rig) -> F32:
    f = _focal(size, rig)
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
    p = _to_camera(np.asarray(points_ego, dtype=np.float64).reshape(-1, 3), CAMERAS.index(camera), rig)
    in_front = p[:, 2] >= rig.near_m
    uv = np.full((len(p), 2), np.nan, dtype=np.float32)
    uv[in_front] = _to_pixels(p[in_front], size, rig)
    return uv, in_front


# --- polygons ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Polygons:
    """N polygons in one array: points [V, 2 or 3], sizes [N], paint [N, 3] RGB."""

    points: F32
    sizes: I64
    paint: U8

    def starts(self) -> I64:
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]])

    def keep(self, which: NDArray[np.bool_]) -> _Polygons:
        return _Polygons(self.points[np.repeat(which, self.sizes)], self.sizes[which], self.paint[which])

    def any(self, of_points: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """[V] -> [N]: whether it holds for any point of the polygon."""
        if not len(self.sizes):
            return np.zeros(0, dtype=bool)
        return np.logical_or.reduceat(of_points, self.starts())


def _visible(polygons: _Polygons, size: tuple[int, int], rig: Rig) -> _Polygons:
    """Camera-frame polygons that are not wholly behind the near plane or beside the picture."""
    x, _, z = polygons.points.T
    edge = z * (size[1] / 2 / _focal(size, rig))
    return polygons.keep(polygons.any(z >= rig.near_m) & polygons.any(x <= edge) & polygons.any(x >= -edge))


def _clip_near(polygons: _Polygons, near: float) -> _Polygons:
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
    return _Polygons(both[keep], np.add.reduceat(keep.sum(axis=1), starts), polygons.paint)


def _draw(image: U8, polygons: _Polygons, size: tuple[int, int], rig: Rig) -> None:
    """Fill camera-frame polygons in their order."""
    polygons = _visible(polygons, size, rig)
    if not len(polygons.sizes):
        return
    polygons = _clip_near(polygons, rig.near_m)
    pixels = np.rint(_to_pixels(polygons.points, size, rig) * (1 << _SHIFT)).astype(np.int32)
    at = 0
    for n, paint in zip(polygons.sizes.tolist(), polygons.paint.tolist(), strict=True):
        cv2.fillPoly(image, [pixels[at : at + n]], paint, cv2.LINE_8, _SHIFT)
        at += n


# --- the road ---------------------------------------------------------------------------------------------------------------


def _resample(line: NDArray[np.floating], count: int) -> NDArray[np.float64]:
    """`count` points at equal distances along a polyline [n, 2]."""
    p = np.asarray(line, dtype=np.float64)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(p, axis=0).T))])
    at = np.linspace(0.0, along[-1], count)
    return np.stack([np.interp(at, along, p[:, 0]), np.interp(at, along, p[:, 1])], axis=1)


def _length(line: NDArray[np.floating]) -> float:
    return float(np.hypot(*np.diff(np.asarray(line, dtype=np.float64), axis=0).T).sum())


class _LaneGrid:
    """How many lanes cover each quarter of a metre, and which way they go. It tells edges, dividers and junctions apart.

    On either side of a line that would be painted on a real road there is at most one lane. Where lanes cross or merge there
    are more, and no line is painted.
    """

    def __init__(self, strips: list[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> None:
        points = np.concatenate([np.concatenate(s) for s in strips])
        self.low = points.min(0) - 2.0
        extent = float((points.max(0) + 2.0 - self.low).max())
        self.cell = max(0.25, extent / 4000)
        shape = tuple(int(n) + 1 for n in ((points.max(0) + 2.0 - self.low) / self.cell)[::-1])
        self.count = np.zeros(shape, np.uint8)
        self.cos, self.sin = np.zeros(shape, np.int8), np.zeros(shape, np.int8)
        for left, right in strips:
            outline = np.rint((np.concatenate([left, right[::-1]]) - self.low) / self.cell).astype(np.int32)
            x, y, w, h = cv2.boundingRect(outline)
            mask = np.zeros((h, w), np.uint8)
            cv2.fillPoly(mask, [outline - np.array([x, y], np.int32)], (1,))
            self.count[y : y + h, x : x + w] += mask
            ways = np.diff((left + right) / 2, axis=0)
            for a, b, c, d, way in zip(left[:-1], left[1:], right[1:], right[:-1], ways, strict=True):
                quad = np.rint((np.stack([a, b, c, d]) - self.low) / self.cell).astype(np.int32)
                unit = np.rint(100 * way / max(float(np.hypot(*way)), 1e-6)).astype(int)
                cv2.fillConvexPoly(self.cos, quad, int(unit[0]))  # pyright: ignore[reportArgumentType, reportCallIssue]
                cv2.fillConvexPoly(self.sin, quad, int(unit[1]))  # pyright: ignore[reportArgumentType, reportCallIssue]

    def styles(self, line: NDArray[np.float64], *, left: bool) -> I64:
        """For each segment of a bound: 0 not painted, 1 edge, 2 divider (left bounds only: it is painted once), 3 centre."""
        along = np.diff(line, axis=0)
        normal = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.maximum(np.hypot(*along.T), 1e-6)[:, None]
        middle = (line[:-1] + line[1:]) / 2
        counts, ways = [], []
        for side in (0.7, -0.7):
            c, r = np.rint((middle + side * normal - self.low) / self.cell).astype(int).T
            counts.append(self.count[r, c])
            ways.append(np.stack([self.cos[r, c], self.sin[r, c]], axis=1).astype(float))
        opposite = (ways[0] * ways[1]).sum(1) < -5000
        style = np.where(np.minimum(*counts) == 0, 1, np.where(opposite, 3, 2 if left else 0))
        return np.where(np.maximum(*counts) > 1, 0, style)


def _ribbon(line: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """The outline of a painted line [n, 2] -> [2 n, 2]."""
    x, y = np.gradient(line, axis=0).T
    side = np.stack([-y, x], axis=1) * (width / 2 / np.maximum(np.hypot(x, y), 1e-6))[:, None]
    return np.concatenate([line + side, (line - side)[::-1]])


def _painted(line: NDArray[np.float64], styles: I64) -> Iterator[tuple[NDArray[np.float64], int]]:
    """Pieces of a bound that carry paint, at most one dash period long, and their style."""
    on, period = _DASH
    k = 0
    while k < len(styles):
        style, end = int(styles[k]), k + 1
        while end < len(styles) and end % period and styles[end] == style:
            end += 1
        if style == 2:
            stop = min(end, k - k % period + on)
            if stop > k:
                yield line[k : stop + 1], style
        elif style:
            yield line[k : end + 1], style
        k = end


# --- vehicles ---------------------------------------------------------------------------------------------------------------


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


def _heights(lengths: F32) -> F32:
    return np.where(lengths > 8.0, 3.2, np.where(lengths > 6.0, 2.1, 1.48)).astype(np.float32)


class _Painter:
    """One scene made ready: road polygons in one array, tracks on a common clock, colours drawn from the scene's name."""

    def __init__(self, scene: Scene) -> None:
        # A mirrored scene keeps the colours of its original, so that its pictures are the mirrored pictures.
        name = scene.name.removesuffix(MIRRORED)
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        grey = rng.uniform(62, 92)
        self.asphalt = _tint(rng, (grey, grey, grey + 3), 4)
        self.ground = _tint(rng, ((122, 138, 96), (150, 142, 118), (136, 136, 130), (108, 132, 92))[rng.integers(4)], 10)
        self.sky = _tint(rng, ((150, 190, 230), (190, 205, 220), (205, 208, 212), (228, 205, 180))[rng.integers(4)], 10)
        self.white, self.yellow = _tint(rng, (226, 226, 222), 10), _tint(rng, (222, 184, 70), 10)
        self.shadow = tuple(0.45 * c for c in self.asphalt)
        self.scene = scene
        self._backgrounds: dict[tuple[int, int], U8] = {}
        self.origin, self.road = _kept(_roads, (id(scene.lanes), name), scene.lanes, self._build_road)
        self._build_tracks(name)

    def _build_road(self) -> tuple[NDArray[np.float64], _Polygons]:
        strips = []
        for left, right in self.scene.lanes:
            n = max(2, math.ceil(max(_length(left), _length(right)) / _STEP_M) + 1)
            strips.append((_resample(left, n), _resample(right, n)))
        if not strips:
            return np.zeros(2), _Polygons(np.zeros((0, 2), np.float32), np.zeros(0, np.int64), np.zeros((0, 3), np.uint8))
        grid = _LaneGrid(strips)
        parts, paint = [np.concatenate([a, b[::-1]]) for a, b in strips], [self.asphalt] * len(strips)
        for strip in strips:
            for line, left in zip(strip, (True, False), strict=True):
                for piece, style in _painted(line, grid.styles(line, left=left)):
                    parts.append(_ribbon(piece, _LINE_M))
                    paint.append(self.yellow if style == 3 else self.white)
        origin = np.concatenate(parts).mean(0)
        points = (np.concatenate(parts) - origin).astype(np.float32)
        return origin, _Polygons(points, np.array([len(p) for p in parts], np.int64), np.array(paint).astype(np.uint8))

    def _build_tracks(self, name: str) -> None:
        tracks = tuple(self.scene.tracks.values())
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
        paint[:, 0], paint[:, 6:10], paint[:, 10], paint[:, 11] = self.shadow, _GLASS, _LAMP_OFF, _HEADLAMP
        self.paint = paint.astype(np.uint8)

    # --- one frame ----------------------------------------------------------------------------------------------------------

    def frame(self, step: int, ego: int, size: tuple[int, int], rig: Rig) -> U8:
        big = (size[0] * _SUPER, size[1] * _SUPER)
        pose = self.states[step - self.first, self.row[ego], :3]
        layers = self._ground(pose, rig), self._boxes(step, self.row[ego], pose, rig)
        images = np.empty((len(CAMERAS), *size, 3), np.uint8)
        for camera in range(len(CAMERAS)):
            image = self._background(big).copy()
            for layer in layers:
                _draw(image, _Polygons(_to_camera(layer.points, camera, rig), layer.sizes, layer.paint), big, rig)
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

    def _ground(self, pose: NDArray[np.float64], rig: Rig) -> _Polygons:
        """The road within reach, ego frame [V, 3]."""
        c, s = math.cos(pose[2]), math.sin(pose[2])
        turn = np.array([[c, -s, 0], [s, c, 0]], dtype=np.float32)
        offset = self.road.points - (pose[:2] - self.origin).astype(np.float32)
        near = self.road.any((offset * offset).sum(1) < rig.far_m**2)
        road = self.road.keep(near)
        ahead = np.asarray(offset[np.repeat(near, self.road.sizes)] @ turn, dtype=np.float32)
        return _Polygons(ahead, road.sizes, road.paint)

    def _boxes(self, step: int, ego: int, pose: NDArray[np.float64], rig: Rig) -> _Polygons:
        """Faces of the vehicles within reach, ego frame, far to near; the faces turned away are left out."""
        now, before = self.states[step - self.first], self.states[max(step - self.first - _LAMP_STEPS, 0)]
        d = now[:, :2] - pose[:2]
        distance = np.hypot(d[:, 0], d[:, 1])
        near = distance < rig.far_m  # false for NaN: absent at this step
        near[ego] = False
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
            slowing = (now[rows, 3] - before[rows, 3]) / (_LAMP_STEPS * self.scene.dt_s) < BRAKING_MPS2
        paint[slowing | (now[rows, 3] < STANDING_MPS), 10] = _LAMP_ON
        return _Polygons(corners[seen].reshape(-1, 3), np.full(int(seen.sum()), 4, np.int64), paint[seen])


def _tint(rng: np.random.Generator, colour: tuple[float, float, float], spread: float) -> tuple[float, ...]:
    return tuple(float(v) for v in np.clip(np.array(colour) + rng.uniform(-spread, spread, 3), 0, 255))


_Made = TypeVar("_Made")
_painters: OrderedDict[int, tuple[object, _Painter]] = OrderedDict()
_roads: OrderedDict[tuple[int, str], tuple[object, tuple[NDArray[np.float64], _Polygons]]] = OrderedDict()
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
    ground = _painter(scene)._ground(np.array(pose, dtype=np.float64), Rig(far_m=reach_m))
    parts = np.split(ground.points[:, :2], np.cumsum(ground.sizes)[:-1]) if len(ground.sizes) else []
    return [(part, (r / 255, g / 255, b / 255)) for part, (r, g, b) in zip(parts, ground.paint.tolist(), strict=True)]
