"""highway-env in the loop: the frames there and back, its equations of motion, its own driver as the log, determinism."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("highway_env")

from edge.core.errors import UnknownNameError
from robotics.driving.closed_loop.episode import drive
from robotics.driving.closed_loop.highway import WARM_STEPS, Seed, seeds
from robotics.driving.closed_loop.planners import ConstantVelocity, Oracle
from robotics.driving.closed_loop.score import score
from robotics.driving.closed_loop.traffic import EGO, ENVIRONMENTS, Traffic
from robotics.driving.pdm import Road

RACE = "racetrack-v0"


@pytest.fixture(scope="module")
def race() -> Seed:
    return Seed(RACE, 3, steps=40)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_scene_holds_every_vehicle_where_the_simulator_has_it(environment: str) -> None:
    traffic = Traffic(environment, 1)
    for _ in range(12):
        traffic.step()
    scene = traffic.scene("there and back", ())
    now = {k for k, t in scene.tracks.items() if t.covers(traffic.step_count, traffic.step_count + 1)}
    vehicles = traffic.env.road.vehicles
    assert len(now) == len(vehicles)
    there = sorted((v.position[0], v.position[1], v.speed) for v in vehicles)
    states = [scene.tracks[k].state(traffic.step_count) for k in now]
    assert np.array(sorted((x, -y, v) for x, y, _, v in states)) == pytest.approx(np.array(there), abs=1e-3)
    x, y, yaw, _ = scene.tracks[EGO].state(traffic.step_count)
    assert (x, -y) == pytest.approx(tuple(traffic.ego.position), abs=1e-3)
    assert math.cos(yaw + traffic.ego.heading) == pytest.approx(1.0)


def test_vehicles_move_along_their_heading_in_the_scene() -> None:
    """A sign lost on the way would make them drift sideways in bends."""
    traffic = Traffic(RACE, 0)
    for _ in range(60):
        traffic.step()
    ego = traffic.scene("", ()).tracks[EGO]
    moved = np.diff(ego.xy.astype(np.float64), axis=0)
    course = np.arctan2(moved[:, 1], moved[:, 0])
    off, wrong = (np.abs(np.angle(np.exp(1j * (course - side * ego.yaw[:-1])))) for side in (1, -1))
    assert np.median(off) < 0.2  # the slip of a bend
    assert np.median(wrong) > 0.4


def test_controls_mean_the_same_there_and_here(race: Seed) -> None:
    """The ego of the simulator and our bicycle with the same controls go the same way, but for its first-order steps."""
    world = race.open()
    for _ in range(10):
        world.coast()
    ours = world.state
    for k in range(20):
        held = replace(world.state, accel=1.0, steer=0.15 * math.sin(k / 3))
        ours = world.bicycle.step(replace(ours, accel=held.accel, steer=held.steer), 0.1)
        world.drive(held)
        assert (world.state.accel, world.state.steer) == pytest.approx((held.accel, held.steer), abs=1e-6)
    assert (ours.x, ours.y) == pytest.approx((world.state.x, world.state.y), abs=0.4)
    assert (ours.yaw, ours.speed) == pytest.approx((world.state.yaw, world.state.speed), abs=0.05)


def test_the_log_is_on_the_lanes(race: Seed) -> None:
    assert Road(race.ready.lanes, 0.3).inside(race.ready.log.xy[: WARM_STEPS + 41]).any(axis=1).all()


def test_the_oracle_follows_the_simulators_own_driver_and_constant_velocity_leaves_the_road(race: Seed) -> None:
    world = race.open()
    d = drive(world, Oracle(), 0.0)
    log = race.ready.log.xy[WARM_STEPS : WARM_STEPS + len(d.states)]
    assert np.hypot(*(np.array([(s.x, s.y) for s in d.states]) - log).T).max() < 1.0
    good = score(d, world.log)
    assert (good.collision, good.off_road, good.ended) == (0.0, 0.0, "time")
    assert good.progress == pytest.approx(1.0, abs=0.05)
    other = race.open()
    assert score(drive(other, ConstantVelocity(), 0.0), other.log).off_road == 1.0


def test_the_same_episode_twice_also_after_another_environment(race: Seed) -> None:
    one = drive(race.open(), ConstantVelocity(), 0.3).states
    Traffic("intersection-v1", 0).step()  # it changes the temper of drivers for all, if it is let
    assert drive(race.open(), ConstantVelocity(), 0.3).states == one
    again = Seed(RACE, 3, steps=40)
    assert np.array_equal(again.ready.log.xy, race.ready.log.xy)
    assert drive(again.open(), ConstantVelocity(), 0.3).states == one


def test_seeds_are_those_whose_driver_arrives() -> None:
    found = list(itertools.islice(seeds(RACE), 2))
    assert [s.key for s in found] == sorted(s.key for s in found)
    assert not any(s.ready.driver_crashed for s in found)
    first = next(seeds(RACE, known={found[0].key}))
    assert first.key == found[0].key
    assert "ready" not in vars(first)  # not driven again only to be chosen
    with pytest.raises(UnknownNameError, match="racetrack-v0"):
        Traffic("racetrack-v1", 0)
