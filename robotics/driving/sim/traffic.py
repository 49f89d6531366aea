"""Who drives in a world: drivers who differ, in platoons at the start, and one by one at the outer ends later."""

from __future__ import annotations

import numpy as np

from robotics.driving.sim.driver import Driver
from robotics.driving.sim.simulator import LaneIndex
from robotics.driving.sim.world import World


def populate(world: World, rng: np.random.Generator, most: int) -> None:
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


def enter(world: World, rng: np.random.Generator) -> None:
    """New traffic at the outer ends of a junction's arms."""
    if rng.random() >= world.inflow:
        return
    p = np.array([w for _, w in world.routes])
    route = world.routes[int(rng.choice(len(p), p=p / p.sum()))][0]
    v = _driver(world, rng, route, 5.0, world.limit_mps * rng.uniform(*world.start_share))
    if all(np.hypot(*(o.position - v.position)) > 30 for o in world.road.vehicles):
        world.road.vehicles.append(v)


def _driver(world: World, rng: np.random.Generator, route: list[LaneIndex], at: float, speed: float) -> Driver:
    lane = world.road.network.get_lane(route[0])
    truck = rng.random() < 0.07
    v = Driver(world.road, lane.position(at, 0), lane.heading_at(at), speed, target_lane_index=route[0], route=list(route))
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
