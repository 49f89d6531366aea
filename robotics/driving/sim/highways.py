"""Highways: straight lanes, with or without a ramp, laid along a winding line when the scene is written."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from robotics.driving.sim.simulator import F64, LATERAL_MPS2, Obstacle
from robotics.driving.sim.street import empty_street, make_lane
from robotics.driving.sim.world import World


def highway(rng: np.random.Generator, *, jam: bool = False) -> World:
    road, count, width = empty_street(rng), int(rng.integers(2, 6)), rng.uniform(3.2, 3.9)
    limit = rng.uniform(8, 18) if jam else rng.uniform(13, 35)
    length = 1100.0
    for i in range(count):
        y = -i * width
        road.network.add_lane("a", "b", make_lane([(0, y), (length, y)], width, limit * rng.uniform(0.9, 1.1)))
    world = World(road, limit, [([("a", "b", i)], 1.0) for i in range(count)], bend=_bend(rng, limit))
    if jam:
        world.gap_m, world.start_share = (2.0, rng.uniform(5, 18)), (0.0, 0.5)
        world.slow_share, world.slow_to = 0.3, (0.0, 0.5)
    else:
        world.gap_m, world.slow_share, world.slow_to = (3.0, rng.uniform(8, 50)), rng.uniform(0.05, 0.25), (0.3, 0.8)
    return world


def highway_with_ramp(rng: np.random.Generator, *, on: bool) -> World:
    """A highway with a lane that joins from an on-ramp and ends, or that begins and leaves by an off-ramp."""
    road, n, w = empty_street(rng), int(rng.integers(2, 5)), rng.uniform(3.3, 3.8)
    limit, ramp = rng.uniform(14, 32), rng.uniform(11, 18)
    x1, x2, x3 = 260.0, 260.0 + rng.uniform(90, 180), 900.0
    net = road.network
    for i in range(n):
        net.add_lane("a", "b", make_lane([(0, -i * w), (x1, -i * w)], w, limit))
    for i in range(n + 1):
        net.add_lane("b", "c", make_lane([(x1, -i * w), (x2, -i * w)], w, limit))
    for i in range(n):
        net.add_lane("c", "d", make_lane([(x2, -i * w), (x3, -i * w)], w, limit))
    side, far = -n * w, rng.uniform(18, 32)
    t = np.linspace(0, 1, 60)[:, None]
    slide = 3 * t**2 - 2 * t**3
    through = [([("a", "b", i), ("b", "c", i), ("c", "d", i)], 1.0) for i in range(n)]
    if on:
        x = x1 - 180 * (1 - t)
        net.add_lane("j", "b", make_lane(np.concatenate([x, side - far * (1 - slide)], axis=1), w, ramp))
        road.objects.append(Obstacle(road, net.get_lane(("b", "c", n)).position(x2 - x1, 0.0)))
        routes = [*through, ([("j", "b", 0), ("b", "c", n - 1), ("c", "d", n - 1)], 1.0)]
    else:
        x = x2 + 180 * t
        net.add_lane("c", "x", make_lane(np.concatenate([x, side - far * slide], axis=1), w, ramp))
        routes = [*through, *[([("a", "b", n - 1), ("b", "c", n), ("c", "x", 0)], 0.5)] * 2]
    world = World(road, limit, routes, bend=_bend(rng, limit))
    world.gap_m, world.start_share, world.reach_m = (4.0, rng.uniform(10, 45)), (0.6, 1.0), x1
    world.slow_share, world.slow_to = 0.12, (0.3, 0.8)
    return world


def _bend(rng: np.random.Generator, limit_mps: float) -> Callable[[F64], tuple[F64, F64]]:
    """A gently winding centre line: the straight road is laid along it (arc length and offset are kept)."""
    tightest = max(limit_mps**2 / LATERAL_MPS2, 90.0)
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
