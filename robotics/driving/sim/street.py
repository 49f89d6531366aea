"""Roads and lanes: the simulator's road with a search for neighbours along the route, and lanes of any shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from robotics.driving.sim.simulator import F64, SIGHT_M, AbstractLane, LaneIndex, Road, RoadNetwork, StraightLane


class Street(Road):
    """The simulator's road with a faster search for neighbours, one that follows the route over joints."""

    _near: list[list]

    def act(self) -> None:
        bodies = self.vehicles + self.objects
        xy = np.array([v.position for v in bodies]).reshape(-1, 2)
        close = (np.abs(xy[:, None] - xy[None]).sum(-1) < SIGHT_M) & ~np.eye(len(xy), dtype=bool)
        self._near = [[bodies[j] for j in row.nonzero()[0]] for row in close]
        self._row = {id(v): k for k, v in enumerate(bodies)}
        super().act()

    def step(self, dt: float) -> None:
        for v in self.vehicles:
            v.step(dt)
        xy = np.array([v.position for v in self.vehicles]).reshape(-1, 2)
        for i, j in np.argwhere(np.triu(np.abs(xy[:, None] - xy[None]).sum(-1) < 22.0, 1)):
            self.vehicles[i].handle_collisions(self.vehicles[j], dt)

    def neighbour_vehicles(self, vehicle: Any, lane_index: LaneIndex | None = None) -> tuple[Any, Any]:
        index = lane_index or vehicle.lane_index
        lane = self.network.get_lane(index)
        s = lane.local_coordinates(vehicle.position)[0]
        chain, start = [(lane, 0.0)], lane.length
        for following in vehicle.upcoming(index):
            if start - s > SIGHT_M:
                break
            chain.append((self.network.get_lane(following), start))
            start += chain[-1][0].length
        front = rear = None
        s_front, s_rear = np.inf, -np.inf
        for other in self._near[self._row[id(vehicle)]]:
            for part, start in chain:
                at, offset = part.local_coordinates(other.position)
                behind = -60.0 if start == 0.0 else -3.0  # followers may still be on the road before this one
                if abs(offset) > part.width_at(at) / 2 + 0.4 or not behind <= at < part.length + 3.0:
                    continue
                at += start
                if s <= at < s_front:
                    front, s_front = other, at
                elif s_rear < at < s:
                    rear, s_rear = other, at
                break
        return front, rear


class Curve(AbstractLane):
    """A lane along a polyline [n, 2] (simulator frame), for turns, ramps and rings."""

    def __init__(self, points: F64, width: float, speed_limit: float) -> None:
        self.points, self.width, self.speed_limit = points, width, speed_limit
        self.forbidden, self.priority, self.line_types = False, 0, [0, 0]
        step = np.diff(points, axis=0)
        self.steps = np.hypot(*step.T)
        self.units = step / self.steps[:, None]
        self.along = np.concatenate([[0.0], np.cumsum(self.steps)])
        self.length = float(self.along[-1])
        self.headings = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
        self.middles = (self.along[1:] + self.along[:-1]) / 2

    def position(self, longitudinal: float, lateral: float) -> F64:
        k = int(np.clip(np.searchsorted(self.along, longitudinal) - 1, 0, len(self.steps) - 1))
        h = self.heading_at(longitudinal)
        on = self.points[k] + (longitudinal - self.along[k]) * self.units[k]
        return on + lateral * np.array([-np.sin(h), np.cos(h)])

    def heading_at(self, longitudinal: float) -> float:
        return float(np.interp(longitudinal, self.middles, self.headings))

    def width_at(self, longitudinal: float) -> float:
        return self.width

    def local_coordinates(self, position: F64) -> tuple[float, float]:
        d = position - self.points[:-1]
        t = (d * self.units).sum(1)
        low, high = np.zeros_like(t), self.steps.copy()
        low[0], high[-1] = -np.inf, np.inf  # straight on beyond both ends
        t = np.clip(t, low, high)
        off = d - t[:, None] * self.units
        k = int(np.argmin((off * off).sum(1)))
        return float(self.along[k] + t[k]), float(self.units[k, 0] * d[k, 1] - self.units[k, 1] * d[k, 0])


def make_lane(points: Sequence[Sequence[float] | F64] | F64, width: float, limit: float) -> Any:
    """A lane of the simulator along points given with y to the left."""
    p = np.asarray(points, dtype=np.float64) * (1, -1)
    return StraightLane(p[0], p[1], width=width, speed_limit=limit) if len(p) == 2 else Curve(p, width, limit)


def empty_street(rng: np.random.Generator) -> Street:
    return Street(RoadNetwork(), np_random=rng, vehicles=[])
