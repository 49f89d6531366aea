"""Traffic made by highway-env, recorded as scenes: roads of many shapes, drivers who follow, brake, yield, turn and change lanes.

Vehicle dynamics (kinematic bicycle), car following (IDM), lane changes (MOBIL) and lane coordinates are the simulator's. Added
here are what its ready-made environments lack: roads drawn at random, signals and gap acceptance at junctions, braking before
bends, and drivers who differ and now and then slow down for no visible reason, so that queues and waves form.
The simulator's frame has y to the right; scenes have y to the left (y and heading are negated on the way out).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge.core.errors import InputError, UnknownNameError
from robotics.driving.scene import F32, FUTURE_STEPS, HISTORY_STEPS, Scene, Track, wrap
from robotics.driving.sim.bounds import lane_bounds
from robotics.driving.sim.driver import Driver
from robotics.driving.sim.highways import highway, highway_with_ramp
from robotics.driving.sim.junctions import intersection, roundabout
from robotics.driving.sim.right_of_way import hold_back
from robotics.driving.sim.simulator import DT_S
from robotics.driving.sim.traffic import enter, populate
from robotics.driving.sim.world import World

_WORLDS: dict[str, Callable[[np.random.Generator], World]] = {
    "highway": highway,
    "jam": lambda rng: highway(rng, jam=True),
    "merge": lambda rng: highway_with_ramp(rng, on=True),
    "exit": lambda rng: highway_with_ramp(rng, on=False),
    "intersection": intersection,
    "roundabout": roundabout,
}
KINDS = tuple(_WORLDS)
"""Kinds of simulated scenes. Without a kind, a seed draws one; intersections are as likely as any two others."""


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
    populate(world, rng, int(rng.integers(16, 50)))
    warm, steps = int(rng.integers(20, 80)), round(seconds / DT_S)
    states: dict[Driver, list[tuple[float, float, float, float]]] = {}
    first: dict[Driver, int] = {}
    for n in range(warm + steps):
        hold_back(world, n * DT_S)
        world.road.act()
        world.road.step(DT_S)
        _leave(world, states)
        enter(world, rng)
        if n >= warm:
            for v in world.road.vehicles:
                first.setdefault(v, n - warm)
                states.setdefault(v, []).append((v.position[0], -v.position[1], -v.heading, v.speed))
    tracks = {k: _track(k, v, first[v], rows, world) for k, (v, rows) in enumerate(states.items()) if len(rows) > 5}
    return Scene(f"sim-{kind}-{seed}", f"sim-{kind}", _bounds(world, states), tracks, DT_S)


def _leave(world: World, states: dict[Driver, list[tuple[float, float, float, float]]]) -> None:
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


def _track(k: int, v: Driver, first: int, rows: list[tuple[float, float, float, float]], world: World) -> Track:
    a = np.array(rows)
    xy, turn = world.bend(a[:, :2])
    yaw, speed = wrap(a[:, 2] + turn), a[:, 3].astype(np.float32)
    return Track(k, first, xy.astype(np.float32), yaw, speed, float(v.LENGTH), float(v.WIDTH))


def _bounds(world: World, states: dict) -> tuple[tuple[F32, F32], ...]:
    """Left and right bounds of all lanes every 2 m, as far as 120 m beyond the traffic."""
    seen = np.array([row[:2] for rows in states.values() for row in rows]).reshape(-1, 2)
    low, high = (seen.min(0) - 120, seen.max(0) + 120) if len(seen) else (np.full(2, -np.inf), np.full(2, np.inf))
    return lane_bounds(world.road.network.lanes_list(), low, high, world.bend)
