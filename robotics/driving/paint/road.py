"""The road as polygons: surfaces of the lanes, then the lines that a real road would have on them.

Scenes tell bounds of lanes and nothing of paint. Which bound is an edge, a divider or a centre line follows from the lanes on
either side of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robotics.driving.paint.opencv import cv2
from robotics.driving.paint.polygons import I64, Polygons
from robotics.driving.scene import F32

_LINE_M, _STEP_M, _DASH = 0.18, 1.5, (2, 6)
"""Width of a line, spacing of resampled bounds, and segments painted of each period of a dashed line (3 m of 9 m)."""


@dataclass(frozen=True, slots=True)
class Road:
    """A painted road: polygons [V, 2] about `origin`, a point in the middle, so that single precision is fine enough."""

    origin: NDArray[np.float64]
    polygons: Polygons

    def within(self, reach_m: float, pose: NDArray[np.float64]) -> Polygons:
        """What comes within reach of `pose` (x, y, yaw), in its frame [V, 3]."""
        c, s = math.cos(pose[2]), math.sin(pose[2])
        turn = np.array([[c, -s, 0], [s, c, 0]], dtype=np.float32)
        offset = self.polygons.points - (pose[:2] - self.origin).astype(np.float32)
        near = self.polygons.any((offset * offset).sum(1) < reach_m**2)
        road = self.polygons.keep(near)
        ahead = np.asarray(offset[np.repeat(near, self.polygons.sizes)] @ turn, dtype=np.float32)
        return Polygons(ahead, road.sizes, road.paint)


def paint_road(
    lanes: Sequence[tuple[F32, F32]], asphalt: tuple[float, ...], white: tuple[float, ...], yellow: tuple[float, ...]
) -> Road:
    """lanes: pairs of bounds as in Scene; colours: RGB in 0..255, yellow for lines between opposite ways."""
    strips = []
    for left, right in lanes:
        n = max(2, math.ceil(max(_length(left), _length(right)) / _STEP_M) + 1)
        strips.append((_resample(left, n), _resample(right, n)))
    if not strips:
        none = Polygons(np.zeros((0, 2), np.float32), np.zeros(0, np.int64), np.zeros((0, 3), np.uint8))
        return Road(np.zeros(2), none)
    grid = _LaneGrid(strips)
    parts, paint = [np.concatenate([a, b[::-1]]) for a, b in strips], [asphalt] * len(strips)
    for strip in strips:
        for line, left in zip(strip, (True, False), strict=True):
            for piece, style in _painted(line, grid.styles(line, left=left)):
                parts.append(_ribbon(piece, _LINE_M))
                paint.append(yellow if style == 3 else white)
    origin = np.concatenate(parts).mean(0)
    points = (np.concatenate(parts) - origin).astype(np.float32)
    return Road(origin, Polygons(points, np.array([len(p) for p in parts], np.int64), np.array(paint).astype(np.uint8)))


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
