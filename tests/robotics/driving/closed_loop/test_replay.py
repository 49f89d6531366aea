"""Log replay: views of the past, who is at fault, the oracle, determinism, and which pairs are driven."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.core.errors import InputError
from robotics.driving.closed_loop.episode import drive
from robotics.driving.closed_loop.figure import draw_episodes
from robotics.driving.closed_loop.planners import ConstantVelocity, Oracle, Stop
from robotics.driving.closed_loop.replay import LogReplay, Pair, choose, eligible
from robotics.driving.closed_loop.score import Score, off_road, score
from robotics.driving.labels import navigation_command
from robotics.driving.pdm import Road
from robotics.driving.prompt import history_of
from robotics.driving.render import render
from robotics.driving.scene import Scene, Track
from robotics.driving.simulate import simulate
from robotics.driving.windows import window_at


@pytest.fixture(scope="module")
def junction() -> Scene:
    return simulate(5, "intersection")


def road(*vehicles: tuple[float, float, float], steps: int = 120) -> Scene:
    """Two lanes along x and vehicles (x m, y m, m/s) at constant speed; the first one is the ego."""
    tracks = {}
    for k, (x, y, v) in enumerate(vehicles):
        xy = np.stack([x + np.arange(steps) * v * 0.1, np.full(steps, y)], axis=1).astype(np.float32)
        tracks[k] = Track(k, 0, xy, np.zeros(steps, np.float32), np.full(steps, v, np.float32), 4.5, 1.8)
    bounds = [np.array([(-200.0, y), (400.0, y)], dtype=np.float32) for y in (5.4, 1.8, -1.8)]
    return Scene("road", "made up", ((bounds[0], bounds[1]), (bounds[1], bounds[2])), tracks)


def whole(scene: Scene) -> list[Pair]:
    """Pairs whose track holds a window at the start: 5 s of future."""
    return [p for p in eligible(scene) if p.steps >= 51]


def drive_in(scene: Scene, planner: object, latency_s: float = 0.0) -> Score:
    world = LogReplay(scene, Pair(scene.name, 0, 30, 80))
    return score(drive(world, planner, latency_s), world.log)  # pyright: ignore[reportArgumentType]


def test_at_the_recorded_pose_everything_seen_is_what_was_recorded(junction: Scene) -> None:
    for pair in choose([whole(junction)], 3):
        world = LogReplay(junction, pair)
        for _ in range(10):
            world.coast()
        seen = world.seen()
        window = window_at(junction, pair.track_id, pair.start)
        assert np.array_equal(seen.images((64, 64)), render(junction, pair.start, pair.track_id, (64, 64)))
        assert seen.history() == history_of(window)
        assert seen.command() == navigation_command(window)


def test_the_ego_is_drawn_where_it_went(junction: Scene) -> None:
    pair = choose([list(eligible(junction))], 1)[0]
    world = LogReplay(junction, pair)
    for _ in range(10):
        world.coast()
    for _ in range(15):
        world.drive(replace(world.state, accel=-4.0, steer=0.1))
    seen, s = world.seen(), world.state
    t = junction.tracks[pair.track_id]
    moved = replace(t, xy=t.xy.copy(), yaw=t.yaw.copy())
    k = seen.step - t.first
    moved.xy[k], moved.yaw[k] = (s.x, s.y), s.yaw
    there = replace(junction, tracks={**junction.tracks, t.track_id: moved})
    assert np.array_equal(seen.images((64, 64)), render(there, seen.step, t.track_id, (64, 64)))
    assert not np.array_equal(seen.images((64, 64)), render(junction, seen.step, t.track_id, (64, 64)))
    assert len(seen.scene.tracks[t.track_id]) == 20 + 10 + 15 + 1  # nothing of the recorded future
    assert np.isnan(seen.window().future).all()


def bend(speed: float = 6.0, straight_m: float = 40.0, radius: float = 12.0, steps: int = 140) -> Scene:
    """One vehicle that drives along x, and then turns left by a quarter circle."""
    s = np.arange(steps) * speed * 0.1
    angle = np.clip((s - straight_m) / radius, 0, np.pi / 2)
    after = np.maximum(s - straight_m - radius * np.pi / 2, 0)
    x, y = np.minimum(s, straight_m) + radius * np.sin(angle), radius * (1 - np.cos(angle)) + after
    ends = np.array([(-200.0, -100.0), (200.0, -100.0)], dtype=np.float32)
    xy = np.stack([x, y], axis=1).astype(np.float32)
    track = Track(0, 0, xy, angle.astype(np.float32), np.full(steps, speed, np.float32), 4.5, 1.8)
    return Scene("bend", "made up", ((ends + np.array([0, 300], np.float32), ends),), {0: track})


def test_the_route_hint_is_that_of_the_place_not_of_the_time() -> None:
    """An ego that waits before the turn is still told of the turn; one that has made it is told to go straight on."""
    world = LogReplay(bend(), Pair("bend", 0, 50, 80))
    for _ in range(10):
        world.coast()
    assert world.seen().command() == "GO_LEFT"
    for _ in range(60):
        world.drive(replace(world.state, accel=-world.state.speed / 0.1))
    assert world.seen().command() == "GO_LEFT"
    onwards = LogReplay(bend(), Pair("bend", 0, 100, 30))
    for _ in range(10):
        onwards.coast()
    assert onwards.seen().command() == "GO_STRAIGHT"
    early = LogReplay(bend(straight_m=80.0, steps=200), Pair("bend", 0, 40, 80))
    assert early.seen().command() == "GO_STRAIGHT"


@pytest.mark.parametrize(
    ("others", "planner", "collision", "hit"),
    [
        ([(60.0, 0.0, 0.0)], ConstantVelocity(), 1.0, 0.0),  # into one that stands
        ([(50.0, 0.0, 4.0)], ConstantVelocity(), 1.0, 0.0),  # into a slower one ahead
        ([(-40.0, 0.0, 14.0)], ConstantVelocity(), 0.0, 1.0),  # from behind, by one that never reacts
        ([(-10.0, 0.0, 10.0)], Stop(), 0.0, 1.0),  # stood, or was slower: from behind
        ([(60.0, 3.6, 0.0)], ConstantVelocity(), 0.0, 0.0),  # past one in the other lane
    ],
)
def test_fault(others: list, planner: object, collision: float, hit: float) -> None:
    s = drive_in(road((0.0, 0.0, 10.0), *others), planner)
    assert (s.collision, s.hit) == (collision, hit)
    assert (s.driving == 0.0) == (collision == 1.0)
    assert (s.ended == "collision") == (collision == 1.0)


def test_references_on_an_empty_road() -> None:
    alone = road((0.0, 0.0, 10.0))
    oracle, straight, stop = (drive_in(alone, p) for p in (Oracle(), ConstantVelocity(), Stop()))
    assert (oracle.driving, straight.driving) == (1.0, 1.0)
    assert stop.progress < 0.2
    assert stop.seconds == 8.0
    assert (stop.off_road, stop.collision) == (0.0, 0.0)
    assert oracle.plans == 16


def test_off_the_road_is_outside_of_every_lane() -> None:
    class Aside(ConstantVelocity):
        def waypoints(self, seen: object) -> np.ndarray:
            return super().waypoints(seen) + np.arange(1, 6)[:, None] * (0.0, -2.0)  # pyright: ignore[reportArgumentType]

    s = drive_in(road((0.0, 0.0, 10.0)), Aside())
    assert s.off_road == 1.0
    assert 0.1 < s.off_road_share < 1.0
    assert s.driving == 0.0


def test_where_the_map_ends_nobody_is_off_the_road() -> None:
    """The lanes end at 60 m; who follows the log beyond is not off the road, who left it before is."""
    scene = road((0.0, 0.0, 10.0))
    ends = np.array([(-200.0, 0.0), (60.0, 0.0)], dtype=np.float32)
    up, down = (ends + np.array([0, y], np.float32) for y in (1.8, -1.8))
    s = drive_in(replace(scene, lanes=((up, down),)), Oracle())
    assert (s.off_road, s.off_road_share) == (0.0, 0.0)
    lanes = Road(((up, down),))
    path = np.array([(20.0, 1.0), (30.0, 3.0), (50.0, 2.5), (70.0, 0.0), (70.0, 9.0)])
    log = np.stack([np.arange(0.0, 100.0), np.zeros(100)], axis=1)
    assert off_road(path, log, lanes).tolist() == [False, True, True, False, False]


def test_the_oracle_stays_near_the_log_and_latency_hardly_moves_it(junction: Scene) -> None:
    for pair in choose([list(eligible(junction))], 4):
        for latency in (0.0, 0.665):
            world = LogReplay(junction, pair)
            d = drive(world, Oracle(), latency)
            log = world.log.xy[pair.start - world.log.first :][: len(d.states)]
            away = np.hypot(*(np.array([(s.x, s.y) for s in d.states]) - log).T)
            assert away.max() < 1.0, pair


def test_the_same_episode_twice(junction: Scene) -> None:
    pair = next(iter(eligible(junction)))
    one, two = (drive(LogReplay(junction, pair), ConstantVelocity(), 0.3) for _ in range(2))
    assert one.states == two.states
    assert one.ages_s == two.ages_s


def test_mean_age_is_that_of_the_pipeline() -> None:
    alone = road((0.0, 0.0, 10.0))
    assert drive_in(alone, Oracle(), 0.0).plan_age_s == pytest.approx(0.2)
    assert drive_in(alone, Oracle(), 0.3).plan_age_s == pytest.approx(0.5)
    assert drive_in(alone, Oracle(), 1.0).plan_age_s == pytest.approx(1.45)


def test_pairs_are_spread_and_repeat() -> None:
    found = [[Pair(name, k, 30, 40) for k in range(n)] for name, n in (("a", 9), ("b", 1), ("c", 30))]
    chosen = choose(found, 12)
    assert [sum(p.scene == s for p in chosen) for s in "abc"] == [6, 1, 5]
    assert len(set(chosen)) == 12
    assert chosen == choose(found, 12)
    with pytest.raises(InputError, match="41 episodes"):
        choose(found, 41)


def test_an_episode_drawn_from_above(junction: Scene, tmp_path: Path) -> None:
    world = LogReplay(junction, whole(junction)[0])
    d = drive(world, Oracle(), 0.3)
    assert len(d.paths) == len(d.ages_s) == len(d.states) - 1
    with Image.open(draw_episodes([("one", d, world.log), ("two", d, world.log)], tmp_path / "film.png")) as image:
        assert image.size[0] > 1000
    with pytest.raises(InputError, match="cannot write"):
        draw_episodes([("one", d, world.log)], Path("/proc/none/film.png"))
