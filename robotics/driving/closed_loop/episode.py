"""One episode: see, plan, wait for the plan as long as it takes, follow it."""

from __future__ import annotations

import numpy as np

from robotics.driving.baselines import constant_velocity
from robotics.driving.closed_loop.bicycle import State
from robotics.driving.closed_loop.driven import Driven
from robotics.driving.closed_loop.latency import Pipeline
from robotics.driving.closed_loop.path import Path, plan_path
from robotics.driving.closed_loop.planners import Drives
from robotics.driving.closed_loop.score import at_fault
from robotics.driving.closed_loop.tracker import follow
from robotics.driving.closed_loop.world import DT_S, LEAD_STEPS, World
from robotics.driving.coding import WAYPOINT_TIMES_S


def drive(world: World, planner: Drives, latency_s: float) -> Driven:
    """Hand the ego of `world` over to `planner`, whose plans come `latency_s` late.

    The planner has been running before, so that a plan arrives as the ego is handed over. Where the latency is longer than the
    lead allows, the ego goes on as it went until the first one arrives.
    """
    pipeline: Pipeline[Path] = Pipeline(latency_s, DT_S)
    asked = failed = 0
    first = -min(int(np.ceil(latency_s / DT_S - 1e-9)), LEAD_STEPS)
    states: list[State] = []
    paths: list[Path] = []
    ages: list[float] = []
    ended, going_on = "time", None
    for tick in range(-LEAD_STEPS, world.steps):
        pipeline.land(tick)
        if tick >= first and pipeline.due(tick):
            path = _plan(world, planner)
            asked, failed = asked + 1, failed + (path is None)
            pipeline.ask(tick, path)
        if tick < 0:
            world.coast()
            continue
        if tick == 0:
            states.append(world.state)
            going_on = _path(world, constant_velocity([world.state.speed, 0.0], WAYPOINT_TIMES_S))
        path, age = pipeline.use(tick) or (going_on, tick * DT_S)
        assert path is not None
        world.drive(follow(world.bicycle, world.state, path, age))
        states.append(world.state)
        paths.append(path)
        ages.append(age)
        if world.broken():
            ended = "world"
            break
        if at_fault(world.scene(), world.log.track_id, world.start, world.step):
            ended = "collision"
            break
    return Driven(world.scene(), world.log.track_id, world.start, tuple(states), tuple(paths), tuple(ages), asked, failed, ended)


def _plan(world: World, planner: Drives) -> Path | None:
    waypoints = planner.waypoints(world.seen())
    return None if waypoints is None else _path(world, waypoints)


def _path(world: World, waypoints: np.ndarray) -> Path:
    s = world.state
    return plan_path(waypoints, (s.x, s.y, s.yaw), s.speed, world.bicycle.slip(s.steer))
