"""Junctions: intersections and roundabouts of drawn shapes, and which ways through them are in conflict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from robotics.driving.sim.simulator import F64, LATERAL_MPS2, LaneIndex
from robotics.driving.sim.street import Curve, empty_street, make_lane
from robotics.driving.sim.world import World


def intersection(rng: np.random.Generator) -> World:
    road, w, limit = empty_street(rng), rng.uniform(3.2, 3.9), rng.uniform(9, 18)
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
                net.add_lane(f"I{a}", f"O{b}", Curve(p, w, _bend_limit(p, limit)))
                rank[f"I{a}", f"O{b}", j] = (way != "left") + 2 * (not signal and a % 2 == 0)
                weight = {"right": 1.0, "left": 1.0, "straight": 1.0 if len(lanes) > 1 else 1.6}[way]
                routes.append(([(f"A{a}", f"I{a}", i), (f"I{a}", f"O{b}", j), (f"O{b}", f"B{b}", to)], weight))
    world = World(road, limit, routes, _conflicts(net, rank), reach_m=far - near)
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


def roundabout(rng: np.random.Generator) -> World:
    road, w, limit = empty_street(rng), rng.uniform(3.4, 4.0), rng.uniform(9, 15)
    net, count = road.network, int(rng.choice([3, 4, 4]))
    arms, radius = _arms(rng, count), rng.uniform(11, 24)
    near, far, spread = radius + rng.uniform(9, 14), 150.0, min(0.5, 7.0 / radius)
    _approaches(net, arms, [1] * count, near, far, w, limit)
    ring = min(limit, float(np.sqrt(LATERAL_MPS2 * radius)))

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
        net.add_lane(f"I{k}", f"E{k}", Curve(p * down, w, _bend_limit(p, ring)))
        p = _bezier(on_ring(out), tangent(out), u * near - side, u)
        net.add_lane(f"X{k}", f"O{k}", Curve(p * down, w, _bend_limit(p, ring)))
        for a, b, start, end in ((f"X{k}", f"E{k}", out, into), (f"E{k}", f"X{(k + 1) % count}", into, following)):
            sweep = (end - start) % (2 * np.pi)
            angles = start + np.linspace(0, sweep, max(4, int(sweep * radius)))
            net.add_lane(a, b, Curve(np.stack([on_ring(v) for v in angles]) * down, w, ring))
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
    world = World(road, limit, routes, _conflicts(net, rank), reach_m=far - near)
    world.inflow, world.gap_m, world.slow_share = rng.uniform(0.03, 0.1), (4.0, rng.uniform(12, 50)), 0.03
    return world


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
    return float(min(most, np.sqrt(LATERAL_MPS2 / max(k, 1e-4))))


def _approaches(net: Any, arms: F64, counts: Sequence[int], near: float, far: float, w: float, limit: float) -> None:
    """Lanes in ("A", "I") and out ("O", "B") of every arm, on the right-hand side."""
    for k, (angle, count) in enumerate(zip(arms, counts, strict=True)):
        u = np.array([np.cos(angle), np.sin(angle)])
        left = np.array([-u[1], u[0]])
        for i in range(count):
            side = left * (i + 0.5) * w
            net.add_lane(f"A{k}", f"I{k}", make_lane([u * far + side, u * near + side], w, limit))
            net.add_lane(f"O{k}", f"B{k}", make_lane([u * near - side, u * far - side], w, limit))


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
