"""Traffic made by highway-env, recorded as scenes: roads of many shapes, drivers who follow, brake, yield, turn and change lanes.

Vehicle dynamics (kinematic bicycle), car following (IDM), lane changes (MOBIL) and lane coordinates are the simulator's. Added
here are what its ready-made environments lack: roads drawn at random, signals and gap acceptance at junctions, braking before
bends, and drivers who differ and now and then slow down for no visible reason, so that queues and waves form.
The simulator's frame has y to the right; scenes have y to the left (y and heading are negated on the way out).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.core.errors import InputError, MissingExtraError, UnknownNameError
from robotics.driving.scene import F32, FUTURE_STEPS, HISTORY_STEPS, Scene, Track, wrap

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # highway-env imports pygame, which must not look for a screen
try:
    from highway_env.road.lane import AbstractLane, StraightLane
    from highway_env.road.road import Road, RoadNetwork
    from highway_env.vehicle.behavior import IDMVehicle
    from highway_env.vehicle.objects import Obstacle
except ImportError as e:
    raise MissingExtraError("highway-env", "sim", "simulated traffic") from e

# The simulator carries few types; what is derived from it here is typed on its own.
_Vehicle: Any = IDMVehicle
_Road: Any = Road
_Lane: Any = AbstractLane
F64 = NDArray[np.float64]
LaneIndex = tuple[str, str, int]

DT_S = 0.1
_SIGHT_M = 90.0
_LATERAL_MPS2 = 2.2
"""Sideways acceleration that drivers accept in a bend."""


# --- drivers ----------------------------------------------------------------------------------------------------------------


class _Driver(_Vehicle):
    """A vehicle of the simulator with a temper of its own. Lengths and parameters are set per instance by `_driver`."""

    KP_HEADING, KP_LATERAL, TAU_PURSUIT = 2.5, 0.5, 0.4  # a lane change takes about 4 s
    POLITENESS = 0.2
    wish_mps = 15.0
    brake_mps2, clock_s, accel_mps2 = 4.5, 0.0, 0.0
    slow_downs: Sequence[tuple[float, float, float]] = ()  # (from s, to s, share of the wished speed)
    stop_in_m: float | None = None  # way to a stop line that must not be crossed now

    def on_state_update(self) -> None:
        """The lane is one of the road being followed. The simulator takes the nearest, which fails where lanes cross."""
        a, b, i = self.target_lane_index
        lanes = self.road.network.graph[a][b]
        if len(lanes) > 1:
            i = int(np.argmin([abs(lane.local_coordinates(self.position)[1]) for lane in lanes]))
        self.lane_index, self.lane = (a, b, i), lanes[i]

    def upcoming(self, index: LaneIndex) -> Iterator[LaneIndex]:
        """Lanes that the route takes after lane `index`."""
        route = self.route or []
        here = bool(route) and route[0][:2] == index[:2]
        for a, b, i in route[here:]:
            if a != index[1]:
                return
            count = len(self.road.network.graph[a][b])
            index = (a, b, min(index[2] if i is None else i, count - 1))
            yield index

    def follow_road(self) -> None:
        """Never jump sideways into a road: who missed the lane for a turn or an exit takes the way that the own lane leads to."""
        if not self.road.network.get_lane(self.target_lane_index).after_end(self.position):
            return
        lane, graph = self.road.network.get_lane(self.target_lane_index), self.road.network.graph
        end = lane.position(lane.length, 0)
        planned = next(self.upcoming(self.target_lane_index), None)
        a = self.target_lane_index[1]
        ways = [(a, b, i) for b, lanes in graph.get(a, {}).items() for i in range(len(lanes))]
        reached = [w for w in ways if np.hypot(*(graph[w[0]][w[1]][w[2]].position(0, 0) - end)) < 2.0]
        if not reached:
            return
        if planned in reached:
            self.route = [r for r in self.route or [] if r[:2] != self.target_lane_index[:2]]
            self.target_lane_index = planned
        else:
            same_road = [w for w in reached if planned is not None and w[:2] == planned[:2]]
            self.target_lane_index = (same_road or reached)[0]
            self.route = (self.route or [])[1:] if same_road else _onward(graph, self.target_lane_index)

    def act(self, action: dict | str | None = None) -> None:
        self.clock_s += DT_S
        self.target_speed = max(self._wanted_speed(), 0.1)
        super().act()
        a, v = float(self.action["acceleration"]), self.speed
        if self.stop_in_m is not None:
            room = max(self.stop_in_m - self.LENGTH / 2, 0.05)
            a = min(a, self.COMFORT_ACC_MAX * (1 - ((0.8 + v * 0.8 + v * v / (2 * self._balance())) / room) ** 2))
        a = float(np.clip(a, -self.brake_mps2, self.COMFORT_ACC_MAX))
        self.accel_mps2 += float(np.clip(a - self.accel_mps2, -1.2, 0.5))  # limits the jerk
        self.action["acceleration"] = max(self.accel_mps2, -v / DT_S)

    def _wanted_speed(self) -> float:
        """The driver's wish, less while slowing down for nothing, less before a slower lane or a bend."""
        wish = self.wish_mps
        for start, stop, share in self.slow_downs:
            if start <= self.clock_s < stop:
                wish *= share
        lane = self.road.network.get_lane(self.target_lane_index)
        way = lane.length - lane.local_coordinates(self.position)[0]
        for index in self.upcoming(self.target_lane_index):
            ahead = self.road.network.get_lane(index)
            wish = min(wish, float(np.sqrt(ahead.speed_limit**2 + 2 * 1.4 * max(way, 0.0))))
            way += ahead.length
            if way > _SIGHT_M:
                break
        return wish

    def _balance(self) -> float:
        return float(np.sqrt(-self.COMFORT_ACC_MAX * self.COMFORT_ACC_MIN))

    def desired_gap(self, ego_vehicle: Any, front_vehicle: Any = None, projected: bool = True) -> float:
        """The IDM's wish for the gap between bumpers, m."""
        v = ego_vehicle.speed
        dv = float(np.dot(ego_vehicle.velocity - front_vehicle.velocity, ego_vehicle.direction))
        return self.DISTANCE_WANTED + max(v * self.TIME_WANTED + v * dv / (2 * self._balance()), 0.0)

    def lane_distance_to(self, other: Any, lane: Any = None) -> float:
        """From bumper to bumper in a straight line. The simulator's way, along one lane, is wrong across joints of curves."""
        return max(float(np.hypot(*(other.position - self.position))) - (self.LENGTH + other.LENGTH) / 2, 0.3)

    def change_lane_policy(self) -> None:
        if self.speed > 3.0 or self.lane_index != self.target_lane_index:
            super().change_lane_policy()

    def steering_control(self, target_lane_index: LaneIndex) -> float:
        """The simulator's cascade; below 4 m/s it would steer hard for small offsets, so the speed has a floor in it."""
        lane, v = self.road.network.get_lane(target_lane_index), max(self.speed, 4.0)
        s, offset = lane.local_coordinates(self.position)
        back = np.clip(-self.KP_LATERAL * offset / v, -0.5, 0.5)  # heading towards the middle of the lane, rad
        error = (lane.heading_at(s + self.speed * self.TAU_PURSUIT) + back - self.heading + np.pi) % (2 * np.pi) - np.pi
        slip = np.arcsin(np.clip(self.LENGTH / 2 / v * self.KP_HEADING * error, -0.7, 0.7))
        return float(np.clip(np.arctan(2 * np.tan(slip)), -0.9, 0.9))


class _Street(_Road):
    """The simulator's road with a faster search for neighbours, one that follows the route over joints."""

    _near: list[list]

    def act(self) -> None:
        bodies = self.vehicles + self.objects
        xy = np.array([v.position for v in bodies]).reshape(-1, 2)
        close = (np.abs(xy[:, None] - xy[None]).sum(-1) < _SIGHT_M) & ~np.eye(len(xy), dtype=bool)
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
            if start - s > _SIGHT_M:
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


class _Curve(_Lane):
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


def _onward(graph: dict[str, dict[str, list]], index: LaneIndex) -> list[LaneIndex]:
    """The way on from a lane where there is no plan: along the lane, then whatever comes first."""
    route = [index]
    while (a := route[-1][1]) in graph and len(route) < 6:
        b = next(iter(graph[a]))
        route.append((a, b, min(route[-1][2], len(graph[a][b]) - 1)))
    return route


# --- worlds -----------------------------------------------------------------------------------------------------------------


@dataclass
class _World:
    """A road, who enters it, who must wait for whom, and how the plane is bent when the scene is written.

    routes: (first lane, its following lanes, weight); gates: connector -> (rank, [(conflicting connector, end of conflict m)]);
    red: which approach roads have a red light at a time; bend: frame of the simulator -> scene, with the added heading.
    """

    road: _Street
    limit_mps: float
    routes: list[tuple[list[LaneIndex], float]]
    gates: dict[LaneIndex, tuple[int, list[tuple[LaneIndex, float]]]] = field(default_factory=dict)
    red: Callable[[float], frozenset[str]] = lambda _t: frozenset()
    bend: Callable[[F64], tuple[F64, F64]] = lambda xy: (xy, np.zeros(len(xy)))
    gap_m: tuple[float, float] = (2.0, 40.0)
    start_share: tuple[float, float] = (0.6, 1.0)
    slow_share: float = 0.15
    slow_to: tuple[float, float] = (0.1, 0.7)
    inflow: float = 0.0
    reach_m: float = 300.0


def _lane(points: Sequence[Sequence[float] | F64] | F64, width: float, limit: float) -> Any:
    """A lane of the simulator along points given with y to the left."""
    p = np.asarray(points, dtype=np.float64) * (1, -1)
    return StraightLane(p[0], p[1], width=width, speed_limit=limit) if len(p) == 2 else _Curve(p, width, limit)


def _street(rng: np.random.Generator) -> _Street:
    return _Street(RoadNetwork(), np_random=rng, vehicles=[])


def _highway(rng: np.random.Generator, *, jam: bool = False) -> _World:
    road, count, width = _street(rng), int(rng.integers(2, 6)), rng.uniform(3.2, 3.9)
    limit = rng.uniform(8, 18) if jam else rng.uniform(13, 35)
    length = 1100.0
    for i in range(count):
        y = -i * width
        road.network.add_lane("a", "b", _lane([(0, y), (length, y)], width, limit * rng.uniform(0.9, 1.1)))
    world = _World(road, limit, [([("a", "b", i)], 1.0) for i in range(count)], bend=_bend(rng, limit))
    if jam:
        world.gap_m, world.start_share = (2.0, rng.uniform(5, 18)), (0.0, 0.5)
        world.slow_share, world.slow_to = 0.3, (0.0, 0.5)
    else:
        world.gap_m, world.slow_share, world.slow_to = (3.0, rng.uniform(8, 50)), rng.uniform(0.05, 0.25), (0.3, 0.8)
    return world


def _ramp(rng: np.random.Generator, *, on: bool) -> _World:
    """A highway with a lane that joins from an on-ramp and ends, or that begins and leaves by an off-ramp."""
    road, n, w = _street(rng), int(rng.integers(2, 5)), rng.uniform(3.3, 3.8)
    limit, ramp = rng.uniform(14, 32), rng.uniform(11, 18)
    x1, x2, x3 = 260.0, 260.0 + rng.uniform(90, 180), 900.0
    net = road.network
    for i in range(n):
        net.add_lane("a", "b", _lane([(0, -i * w), (x1, -i * w)], w, limit))
    for i in range(n + 1):
        net.add_lane("b", "c", _lane([(x1, -i * w), (x2, -i * w)], w, limit))
    for i in range(n):
        net.add_lane("c", "d", _lane([(x2, -i * w), (x3, -i * w)], w, limit))
    side, far = -n * w, rng.uniform(18, 32)
    t = np.linspace(0, 1, 60)[:, None]
    slide = 3 * t**2 - 2 * t**3
    through = [([("a", "b", i), ("b", "c", i), ("c", "d", i)], 1.0) for i in range(n)]
    if on:
        x = x1 - 180 * (1 - t)
        net.add_lane("j", "b", _lane(np.concatenate([x, side - far * (1 - slide)], axis=1), w, ramp))
        road.objects.append(Obstacle(road, net.get_lane(("b", "c", n)).position(x2 - x1, 0.0)))
        routes = [*through, ([("j", "b", 0), ("b", "c", n - 1), ("c", "d", n - 1)], 1.0)]
    else:
        x = x2 + 180 * t
        net.add_lane("c", "x", _lane(np.concatenate([x, side - far * slide], axis=1), w, ramp))
        routes = [*through, *[([("a", "b", n - 1), ("b", "c", n), ("c", "x", 0)], 0.5)] * 2]
    world = _World(road, limit, routes, bend=_bend(rng, limit))
    world.gap_m, world.start_share, world.reach_m = (4.0, rng.uniform(10, 45)), (0.6, 1.0), x1
    world.slow_share, world.slow_to = 0.12, (0.3, 0.8)
    return world


def _bend(rng: np.random.Generator, limit_mps: float) -> Callable[[F64], tuple[F64, F64]]:
    """A gently winding centre line: the straight road is laid along it (arc length and offset are kept)."""
    tightest = max(limit_mps**2 / _LATERAL_MPS2, 90.0)
    k = 1 / tightest * rng.choice([0.0, rng.uniform(0, 1), rng.uniform(0, 1)])
    period, phase = rng.uniform(300, 900), rng.uniform(0, 2 * np.pi)
    s = np.arange(-200.0, 1400.0, 2.0)
    heading = np.cumsum(k * np.sin(2 * np.pi * s / period + phase)) * 2.0
    xy = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1) * 2.0, axis=0)

    def bend(p: F64) -> tuple[F64, F64]:
        a = np.interp(p[:, 0], s, heading)
        on = np.stack([np.interp(p[:, 0], s, xy[:, 0]), np.interp(p[:, 0], s, xy[:, 1])], axis=1)
        return on + p[:, 1:] * np.stack([-np.sin(a), np.cos(a)], axis=1), a

    return bend


def _arms(rng: np.random.Generator, count: int) -> F64:
    """Directions of the arms, counter-clockwise, at least 60 degrees apart. [count] rad."""
    even = np.arange(4) * np.pi / 2
    chosen = even if count == 4 else even[[0, 1, 2]]
    return chosen + rng.uniform(-0.18, 0.18, count) + rng.uniform(0, 2 * np.pi)


def _bezier(a: F64, heading_a: F64, b: F64, heading_b: F64, pull: float = 0.55) -> F64:
    """A smooth way from a to b that leaves along one unit vector and arrives along another. [n, 2], about 1 m apart."""
    reach = float(np.hypot(*(b - a)))
    t = np.linspace(0, 1, max(6, int(1.2 * reach)))[:, None]
    c, d = a + heading_a * reach * pull * 0.7, b - heading_b * reach * pull * 0.7
    return (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * c + 3 * (1 - t) * t**2 * d + t**3 * b


def _bend_limit(points: F64, most: float) -> float:
    """The speed at which the tightest part of a way is comfortable."""
    step = np.diff(points, axis=0)
    turn = np.abs(np.diff(np.unwrap(np.arctan2(step[:, 1], step[:, 0]))))
    k = (turn / np.hypot(*step[1:].T)).max(initial=0.0)
    return float(min(most, np.sqrt(_LATERAL_MPS2 / max(k, 1e-4))))


def _approaches(net: Any, arms: F64, counts: Sequence[int], near: float, far: float, w: float, limit: float) -> None:
    """Lanes in ("A", "I") and out ("O", "B") of every arm, on the right-hand side."""
    for k, (angle, count) in enumerate(zip(arms, counts, strict=True)):
        u = np.array([np.cos(angle), np.sin(angle)])
        left = np.array([-u[1], u[0]])
        for i in range(count):
            side = left * (i + 0.5) * w
            net.add_lane(f"A{k}", f"I{k}", _lane([u * far + side, u * near + side], w, limit))
            net.add_lane(f"O{k}", f"B{k}", _lane([u * near - side, u * far - side], w, limit))


def _intersection(rng: np.random.Generator) -> _World:
    road, w, limit = _street(rng), rng.uniform(3.2, 3.9), rng.uniform(9, 18)
    net, count = road.network, int(rng.choice([3, 4, 4]))
    arms = _arms(rng, count)
    major, minor = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    counts = [(major, minor)[k % 2] for k in range(count)]
    near, far = max(major, minor) * w + rng.uniform(5, 11), 170.0
    _approaches(net, arms, counts, near, far, w, limit)
    routes, rank = [], {}
    signal, period = bool(rng.random() < 0.7), rng.uniform(14, 26)
    for a in range(count):
        for b in range(count):
            if a == b:
                continue
            turn = float((arms[b] - arms[a] + np.pi) % (2 * np.pi) - np.pi)  # of the arms; straight on is +-pi
            way = "right" if 0 < turn < 2.2 else "left" if -2.2 < turn < 0 else "straight"
            lanes = {"right": [counts[a] - 1], "left": [0], "straight": list(range(min(counts[a], counts[b])))}[way]
            for j, i in enumerate(lanes):
                to = {"right": counts[b] - 1, "left": 0, "straight": i}[way]
                start, end = net.get_lane((f"A{a}", f"I{a}", i)), net.get_lane((f"O{b}", f"B{b}", to))
                p = _bezier(start.end, start.direction, end.start, end.direction)
                net.add_lane(f"I{a}", f"O{b}", _Curve(p, w, _bend_limit(p, limit)))
                rank[f"I{a}", f"O{b}", j] = (way != "left") + 2 * (not signal and a % 2 == 0)
                weight = {"right": 1.0, "left": 1.0, "straight": 1.0 if len(lanes) > 1 else 1.6}[way]
                routes.append(([(f"A{a}", f"I{a}", i), (f"I{a}", f"O{b}", j), (f"O{b}", f"B{b}", to)], weight))
    world = _World(road, limit, routes, _conflicts(net, rank), reach_m=far - near)
    world.inflow, world.gap_m, world.slow_share = rng.uniform(0.02, 0.08), (3.0, rng.uniform(12, 60)), 0.06
    if signal:
        green, offset = rng.uniform(0.35, 0.65) * period, rng.uniform(0, period)

        def red(t: float) -> frozenset[str]:
            at = (t + offset) % period
            first = at < green - 3.5  # the last seconds of each phase are red for all
            second = green <= at < period - 3.5
            return frozenset(f"I{k}" for k in range(count) if not (first if k % 2 == 0 else second))

        world.red = red
    return world


def _roundabout(rng: np.random.Generator) -> _World:
    road, w, limit = _street(rng), rng.uniform(3.4, 4.0), rng.uniform(9, 15)
    net, count = road.network, int(rng.choice([3, 4, 4]))
    arms, radius = _arms(rng, count), rng.uniform(11, 24)
    near, far, spread = radius + rng.uniform(9, 14), 150.0, min(0.5, 7.0 / radius)
    _approaches(net, arms, [1] * count, near, far, w, limit)
    ring = min(limit, float(np.sqrt(_LATERAL_MPS2 * radius)))

    def on_ring(angle: float) -> F64:
        return radius * np.array([np.cos(angle), np.sin(angle)])

    def tangent(angle: float) -> F64:
        return np.array([-np.sin(angle), np.cos(angle)])

    down = np.array([1, -1])
    rank = {}
    for k, angle in enumerate(arms):
        into, out = angle + spread, angle - spread  # traffic goes round counter-clockwise and keeps right on the arms
        following = arms[(k + 1) % count] - spread
        u = np.array([np.cos(angle), np.sin(angle)])
        side = np.array([-u[1], u[0]]) * w / 2
        p = _bezier(u * near + side, -u, on_ring(into), tangent(into))
        net.add_lane(f"I{k}", f"E{k}", _Curve(p * down, w, _bend_limit(p, ring)))
        p = _bezier(on_ring(out), tangent(out), u * near - side, u)
        net.add_lane(f"X{k}", f"O{k}", _Curve(p * down, w, _bend_limit(p, ring)))
        for a, b, start, end in ((f"X{k}", f"E{k}", out, into), (f"E{k}", f"X{(k + 1) % count}", into, following)):
            sweep = (end - start) % (2 * np.pi)
            angles = start + np.linspace(0, sweep, max(4, int(sweep * radius)))
            net.add_lane(a, b, _Curve(np.stack([on_ring(v) for v in angles]) * down, w, ring))
        rank[f"I{k}", f"E{k}", 0], rank[f"X{k}", f"E{k}", 0] = 0, 1
    routes = []
    for a in range(count):
        for turns in range(1, count + 1):
            route: list[LaneIndex] = [(f"A{a}", f"I{a}", 0), (f"I{a}", f"E{a}", 0)]
            for k in range(a, a + turns):
                here, after = f"E{k % count}", f"X{(k + 1) % count}"
                route.append((here, after, 0))
                if k + 1 < a + turns:
                    route.append((after, f"E{(k + 1) % count}", 0))
            b = (a + turns) % count
            routes.append(([*route, (f"X{b}", f"O{b}", 0), (f"O{b}", f"B{b}", 0)], 0.2 if turns == count else 1.0))
    world = _World(road, limit, routes, _conflicts(net, rank), reach_m=far - near)
    world.inflow, world.gap_m, world.slow_share = rng.uniform(0.03, 0.1), (4.0, rng.uniform(12, 50)), 0.03
    return world


def _conflicts(net: Any, rank: dict[LaneIndex, int]) -> dict[LaneIndex, tuple[int, list[tuple[LaneIndex, float]]]]:
    """For every connector, which others come within 2.4 m of it, and up to where along them; not those from the same lane."""
    lines = {k: np.stack([net.get_lane(k).position(s, 0) for s in np.arange(0, net.get_lane(k).length, 1.0)]) for k in rank}
    gates = {}
    for a, line in lines.items():
        others = []
        for b, other in lines.items():
            if a == b or np.hypot(*(line[0] - other[0])) < 1.0:
                continue
            near = np.hypot(*(line[:, None] - other[None]).transpose(2, 0, 1)).min(axis=0) < 2.4
            if near.any():
                others.append((b, float(near.nonzero()[0].max()) + 3.0))
        gates[a] = (rank[a], others)
    return gates


_WORLDS: dict[str, Callable[[np.random.Generator], _World]] = {
    "highway": _highway,
    "jam": lambda rng: _highway(rng, jam=True),
    "merge": lambda rng: _ramp(rng, on=True),
    "exit": lambda rng: _ramp(rng, on=False),
    "intersection": _intersection,
    "roundabout": _roundabout,
}
KINDS = tuple(_WORLDS)
"""Kinds of simulated scenes. Without a kind, a seed draws one; intersections are as likely as any two others."""


# --- running ----------------------------------------------------------------------------------------------------------------


def _driver(world: _World, rng: np.random.Generator, route: list[LaneIndex], at: float, speed: float) -> _Driver:
    lane = world.road.network.get_lane(route[0])
    truck = rng.random() < 0.07
    v = _Driver(world.road, lane.position(at, 0), lane.heading_at(at), speed, target_lane_index=route[0], route=list(route))
    v.LENGTH, v.WIDTH = (rng.uniform(8, 13), 2.5) if truck else (rng.uniform(3.9, 5.4), rng.uniform(1.7, 2.1))
    v.diagonal = float(np.hypot(v.LENGTH, v.WIDTH))
    v.wish_mps = world.limit_mps * float(np.clip(rng.normal(0.8 if truck else 1.0, 0.13), 0.55, 1.35))
    v.COMFORT_ACC_MAX, v.COMFORT_ACC_MIN = rng.uniform(0.8, 1.3) if truck else rng.uniform(1.2, 2.6), -rng.uniform(1.6, 3.0)
    v.TIME_WANTED, v.DISTANCE_WANTED = rng.uniform(0.8, 1.9), rng.uniform(1.5, 3.5)
    v.POLITENESS, v.LANE_CHANGE_MIN_ACC_GAIN = rng.uniform(0, 0.5), rng.uniform(0.15, 0.8)
    v.timer = rng.uniform(0, 1)
    if rng.random() < world.slow_share:
        starts = np.cumsum(rng.exponential(9.0, 3))
        v.slow_downs = [(t, t + rng.uniform(1.5, 5.0), rng.uniform(*world.slow_to)) for t in starts]
    v.on_state_update()
    return v


def _populate(world: _World, rng: np.random.Generator, most: int) -> None:
    """Platoons on every first lane, from the front backwards."""
    weights: dict[LaneIndex, list[tuple[list[LaneIndex], float]]] = {}
    for route, weight in world.routes:
        weights.setdefault(route[0], []).append((route, weight))
    share = most / max(len(weights), 1)
    for first, choices in weights.items():
        at = min(world.reach_m, world.road.network.get_lane(first).length) - rng.uniform(5, 40)
        at -= 30.0 * bool(world.gates)  # room to stop before a red light
        crowd, p = rng.uniform(0.5, 1.4) * share, np.array([w for _, w in choices])
        while at > 10 and crowd > 0:
            speed = world.limit_mps * rng.uniform(*world.start_share)
            route = choices[int(rng.choice(len(choices), p=p / p.sum()))][0]
            v = _driver(world, rng, route, at, speed)
            world.road.vehicles.append(v)
            at -= v.LENGTH + 5.0 + rng.uniform(*world.gap_m) + 0.5 * speed
            crowd -= 1


def _enter(world: _World, rng: np.random.Generator) -> None:
    """New traffic at the outer ends of a junction's arms."""
    if rng.random() >= world.inflow:
        return
    p = np.array([w for _, w in world.routes])
    route = world.routes[int(rng.choice(len(p), p=p / p.sum()))][0]
    v = _driver(world, rng, route, 5.0, world.limit_mps * rng.uniform(*world.start_share))
    if all(np.hypot(*(o.position - v.position)) > 30 for o in world.road.vehicles):
        world.road.vehicles.append(v)


def _hold_back(world: _World, t: float) -> None:
    """Red lights and gap acceptance: who has to stop before the connector that the route takes next."""
    if not world.gates:
        return
    red, net = world.red(t), world.road.network
    coming: dict[LaneIndex, list[tuple[_Driver, float]]] = {}
    inside: dict[LaneIndex, list[float]] = {}
    for v in world.road.vehicles:
        v.stop_in_m = None
        index = v.target_lane_index
        at = net.get_lane(index).local_coordinates(v.position)[0]
        inside.setdefault(index, []).append(at - v.LENGTH / 2)
        following = next(v.upcoming(index), None)
        if following in world.gates:
            coming.setdefault(following, []).append((v, net.get_lane(index).length - at))
    for gate, waiting in coming.items():
        rank, conflicts = world.gates[gate]
        for v, way in waiting:
            if _committed(v, way) or way > 60:
                continue
            held = gate[0] in red or any(at < end for c, end in conflicts for at in inside.get(c, ()))
            crossing_s = max(4.0, 1.0 + (way + 0.75 * net.get_lane(gate).length) / max(v.speed, 4.0))
            for c, _ in conflicts if not held else ():
                other = world.gates[c][0]
                for w, far in coming.get(c, ()):
                    soon = far / max(w.speed, 2.5) < (crossing_s if other > rank else 4.0)
                    first = (other, -far) > (rank, -way) and c[0] not in red
                    held |= soon and (first or _committed(w, far))
            if held:
                v.stop_in_m = way


def _committed(v: _Driver, way: float) -> bool:
    """Too close to the line to stop."""
    return way - v.LENGTH / 2 < v.speed**2 / (2 * 3.5) - 0.5


def simulate(seed: int, kind: str | None = None, seconds: float = 12.0) -> Scene:
    """One scene of `seconds` at 10 Hz, the same for the same arguments on every run. Every vehicle is recorded.

    kind: one of KINDS; None draws one by the seed. Vehicles that collide are taken off the road, and the last second before that
    is cut. Raises UnknownNameError for another kind, InputError for a time too short for a window (7.1 s).
    """
    if kind is not None and kind not in _WORLDS:
        raise UnknownNameError("kind of scene", kind, KINDS)
    shortest = (HISTORY_STEPS + FUTURE_STEPS + 1) * DT_S
    if seconds < shortest:
        raise InputError(f"seconds {seconds}: a scene must hold 2 s of history and 5 s of future; use {shortest:.1f} or more")
    rng = np.random.default_rng([seed, *(kind or "").encode()])
    if kind is None:
        kind = str(rng.choice([*KINDS, "intersection"]))
    world = _WORLDS[kind](rng)
    _populate(world, rng, int(rng.integers(16, 50)))
    warm, steps = int(rng.integers(20, 80)), round(seconds / DT_S)
    states: dict[_Driver, list[tuple[float, float, float, float]]] = {}
    first: dict[_Driver, int] = {}
    for n in range(warm + steps):
        _hold_back(world, n * DT_S)
        world.road.act()
        world.road.step(DT_S)
        _leave(world, states)
        _enter(world, rng)
        if n >= warm:
            for v in world.road.vehicles:
                first.setdefault(v, n - warm)
                states.setdefault(v, []).append((v.position[0], -v.position[1], -v.heading, v.speed))
    tracks = {k: _track(k, v, first[v], rows, world) for k, (v, rows) in enumerate(states.items()) if len(rows) > 5}
    return Scene(f"sim-{kind}-{seed}", f"sim-{kind}", _bounds(world, states), tracks, DT_S)


def _leave(world: _World, states: dict[_Driver, list[tuple[float, float, float, float]]]) -> None:
    """Take away who reached the end of the last road or collided."""
    staying = []
    for v in world.road.vehicles:
        lane = world.road.network.get_lane(v.target_lane_index)
        done = v.target_lane_index[1] not in world.road.network.graph
        if v.crashed:
            rows = states.get(v, [])
            del rows[max(len(rows) - 10, 0) :]
        elif not (done and lane.local_coordinates(v.position)[0] > lane.length - 6.0):
            staying.append(v)
    world.road.vehicles = staying


def _track(k: int, v: _Driver, first: int, rows: list[tuple[float, float, float, float]], world: _World) -> Track:
    a = np.array(rows)
    xy, turn = world.bend(a[:, :2])
    yaw, speed = wrap(a[:, 2] + turn), a[:, 3].astype(np.float32)
    return Track(k, first, xy.astype(np.float32), yaw, speed, float(v.LENGTH), float(v.WIDTH))


def _bounds(world: _World, states: dict) -> tuple[tuple[F32, F32], ...]:
    """Left and right bounds of all lanes every 2 m, as far as 120 m beyond the traffic."""
    seen = np.array([row[:2] for rows in states.values() for row in rows]).reshape(-1, 2)
    low, high = (seen.min(0) - 120, seen.max(0) + 120) if len(seen) else (-np.inf, np.inf)
    lanes = []
    for lane in world.road.network.lanes_list():
        s = np.linspace(0, lane.length, max(2, int(lane.length / 2) + 1))
        sides = [np.stack([lane.position(v, side * lane.width_at(v) / 2) for v in s]) * (1, -1) for side in (-1, 1)]
        keep = ((sides[0] >= low) & (sides[0] <= high)).all(axis=1)
        if keep.sum() >= 2:
            lanes.append(tuple(world.bend(side[keep])[0].astype(np.float32) for side in sides))
    return tuple(lanes)
