"""Where the ego is on the road: in several lanes, off the road, against the traffic. Shapes: `T` steps, `L` lanes, `P` points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge.core.errors import InputError
from robotics.driving.pdm.boxes import Bools, corners
from robotics.driving.pdm.rollout import Ego

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Road:
    """lanes: pairs (left bound [n, 2], right bound [m, 2]) m, as in `Scene`; both run in the direction of travel.

    tolerance_m: how far outside of a lane still counts as on it (NAVSIM 0; nuPlan's drivable area 0.3).
    """

    lanes: Sequence[tuple[ArrayLike, ArrayLike]]
    tolerance_m: float = 0.0

    @cached_property
    def outlines(self) -> list[F64]:
        """[n + m, 2] m of every lane. Raises InputError when there is none: then nothing is known of the road."""
        if not len(self.lanes):
            raise InputError("the scene has no lanes, so whether the ego is on the road is unknown: leave those scores out")
        sides = [(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)[::-1]) for a, b in self.lanes]
        return [np.concatenate(pair) for pair in sides]

    @cached_property
    def centres(self) -> list[F64]:
        """Centre line [k, 2] m of every lane, halfway between the bounds."""
        at = np.linspace(0.0, 1.0, 50)
        return [(_spread(left, at) + _spread(right, at)) / 2 for left, right in self.lanes]

    def inside(self, points: ArrayLike) -> Bools:
        """points [..., 2] m -> [..., L]: in which lanes each lies."""
        p = np.asarray(points, dtype=np.float64)
        flat = p.reshape(-1, 2)
        out = np.zeros((len(flat), len(self.outlines)), dtype=bool)
        for k, outline in enumerate(self.outlines):
            low, high = outline.min(0) - self.tolerance_m, outline.max(0) + self.tolerance_m
            near = ((flat >= low) & (flat <= high)).all(axis=1).nonzero()[0]
            if near.size:
                out[near, k] = within(flat[near], outline, self.tolerance_m)
        return out.reshape(*p.shape[:-1], -1)


def within(points: F64, outline: F64, tolerance_m: float = 0.0) -> Bools:
    """points [P, 2] in a polygon [n, 2] (a ray to the right crosses its edges an odd number of times), or that near to it."""
    a, b = outline, np.roll(outline, -1, axis=0)
    x, y = points[:, 0, None], points[:, 1, None]
    spans = (a[:, 1] <= y) != (b[:, 1] <= y)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = a[:, 0] + (y - a[:, 1]) / (b[:, 1] - a[:, 1]) * (b[:, 0] - a[:, 0])
    odd = (spans & (x < at)).sum(axis=1) % 2 == 1
    return odd | (to_segments(points, a, b).min(axis=1) <= tolerance_m) if tolerance_m > 0 else odd


def to_segments(points: F64, a: F64, b: F64) -> F64:
    """Distances [P, S] m of points [P, 2] from segments a..b [S, 2]."""
    d = b - a
    t = ((points[:, None] - a) * d).sum(-1) / np.maximum((d * d).sum(-1), 1e-12)
    return np.linalg.norm(points[:, None] - a - np.clip(t, 0.0, 1.0)[..., None] * d, axis=-1)


@dataclass(frozen=True, slots=True)
class Area:
    """At every step [T]: in several lanes and wholly in none; with a corner off the road; with the centre in lanes that all go
    the other way (NAVSIM PDM scorer, ego areas; there without a route: off the route)."""

    several_lanes: Bools
    off_road: Bools
    oncoming: Bools


def area(ego: Ego, road: Road) -> Area:
    """Where the ego is at every step. Raises InputError for a road without lanes."""
    held = road.inside(corners(ego.boxes()))  # [T, 4, L]
    some, all_four = np.any(held, axis=1), np.all(held, axis=1)  # [T, L]
    several = (some.sum(axis=1) > 1) & ~np.any(all_four, axis=1)
    off_road = ~np.all(np.any(held, axis=2), axis=1)
    centre = road.inside(ego.poses[:, :2])  # [T, L]
    against = np.zeros_like(centre)
    heading = ego.heading()
    for k in np.flatnonzero(np.any(centre, axis=0)):
        rows, line = np.flatnonzero(centre[:, k]), road.centres[k]
        nearest = to_segments(ego.poses[rows, :2], line[:-1], line[1:]).argmin(axis=1)
        against[rows, k] = (np.diff(line, axis=0)[nearest] * heading[rows]).sum(axis=1) < 0
    oncoming = np.any(centre, axis=1) & np.all(against == centre, axis=1)
    return Area(several, off_road, oncoming)


def _spread(line: ArrayLike, at: F64) -> F64:
    """Points [K, 2] at shares `at` of a polyline's length."""
    p = np.asarray(line, dtype=np.float64)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(p, axis=0).T))])
    return np.stack([np.interp(at * along[-1], along, p[:, 0]), np.interp(at * along[-1], along, p[:, 1])], axis=1)
