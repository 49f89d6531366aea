"""Episodes of highway-env's own environments, recorded as scenes: roads and drivers that are not this project's.

The simulator decides where roads lie, who drives on them and how (IDM and MOBIL). Every vehicle is recorded. The one that an
environment hands to an agent is given the simulator's own driver as well, on the same route, so that all can serve as ego.
(`robotics.driving.simulate` builds on the same vehicle models, but on roads, junction rules and drivers of its own.)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edge.core.errors import InputError, MissingExtraError, UnknownNameError
from robotics.driving.data.motion import DT_S
from robotics.driving.scene import F32, Scene, Track, wrap
from robotics.driving.sim.simulator import IDMVehicle  # says what to install, and keeps pygame from looking for a screen

try:
    import gymnasium
except ImportError as e:
    raise MissingExtraError("gymnasium", "sim", "highway-env episodes") from e

import highway_env  # noqa: F401  (registers its environments)

ENVIRONMENTS = ("highway-fast-v0", "merge-v1", "roundabout-v1", "intersection-v2", "exit-v1")
"""Environments with traffic around the agent, whose rewards bear another driver in its place."""

_IDLE = 1
"""The action that changes nothing, of DiscreteMetaAction: the simulator's drivers ignore actions anyway."""
_SPAWN_PROBABILITY = 0.06
"""That a vehicle enters an intersection, per step of 0.1 s: the environments' own 0.6 per second."""

_CUT_STEPS = 10
"""Steps before a collision that are cut off."""


def episode(env_id: str, seed: int, seconds: float = 14.0) -> Scene:
    """One episode at 10 Hz, the same for the same arguments. Vehicles that crash end a second earlier.

    Raises UnknownNameError for another environment, InputError when nothing moves for the 7 s of a window.
    """
    if env_id not in ENVIRONMENTS:
        raise UnknownNameError("highway-env environment", env_id, ENVIRONMENTS)
    rate = round(1 / DT_S)
    config = {
        "simulation_frequency": rate,
        "policy_frequency": rate,
        "duration": seconds + 1,
        "action": {"type": "DiscreteMetaAction"},
        "spawn_probability": _SPAWN_PROBABILITY,
    }
    env: Any = gymnasium.make(env_id, config=config, disable_env_checker=True).unwrapped
    try:
        env.reset(seed=seed)
        world = env
        world.controlled_vehicles = [_hand_over(world.road, v) for v in world.controlled_vehicles]
        states = _record(world, round(seconds / DT_S))
        lanes = _bounds(world.road.network)
    finally:
        env.close()
    tracks = {k: _track(k, *entry) for k, entry in enumerate(states.values()) if len(entry[2]) > 5}
    if not tracks:
        raise InputError(f"episode is empty: {env_id} with seed {seed} has no vehicle that stays for half a second")
    return Scene(f"{env_id}-{seed}", f"highway-env-{env_id}", lanes, tracks, DT_S)


def _hand_over(road: Any, vehicle: Any) -> Any:
    """Replace an agent's vehicle by one of the simulator's drivers in the same state."""
    driver = IDMVehicle.create_from(vehicle)
    driver.enable_lane_change = True
    road.vehicles[road.vehicles.index(vehicle)] = driver
    return driver


def _record(world: Any, steps: int) -> dict[Any, tuple[int, Any, list[tuple[float, float, float, float]]]]:
    """Vehicle -> (first step, vehicle, its states), y turned to the left. An agent's end of the episode is not the traffic's."""
    out: dict[Any, tuple[int, Any, list]] = {}
    for n in range(steps):
        for v in list(world.road.vehicles):
            if v.crashed:
                if v in out and out[v][2] and not getattr(v, "recorded_crash", False):
                    del out[v][2][-_CUT_STEPS:]
                    v.recorded_crash = True
            elif _on_road(v):
                rows = out.setdefault(v, (n, v, []))
                if rows[0] + len(rows[2]) == n:  # who left the road does not come back
                    rows[2].append((float(v.position[0]), -float(v.position[1]), -float(v.heading), float(v.speed)))
        world.step(_IDLE)
    return out


def _on_road(vehicle: Any) -> bool:
    """Within the length of its lane: highway-env lets vehicles drive on beyond the end of the last one."""
    lane = vehicle.road.network.get_lane(vehicle.lane_index)
    along, _ = lane.local_coordinates(vehicle.position)
    return -1.0 <= along <= lane.length and bool(vehicle.on_road)


def _track(number: int, first: int, vehicle: Any, rows: list[tuple[float, float, float, float]]) -> Track:
    a = np.array(rows)
    return Track(
        number, first, a[:, :2].astype(np.float32), wrap(a[:, 2]), a[:, 3].astype(np.float32), vehicle.LENGTH, vehicle.WIDTH
    )


def _bounds(network: Any) -> tuple[tuple[F32, F32], ...]:
    """Left and right bounds of all lanes every 2 m."""
    out = []
    for lane in network.lanes_list():
        s = np.linspace(0.0, lane.length, max(2, int(lane.length / 2) + 1))
        left, right = (np.stack([lane.position(v, side * lane.width_at(v) / 2) for v in s]) * (1, -1) for side in (-1, 1))
        out.append((left.astype(np.float32), right.astype(np.float32)))
    return tuple(out)
