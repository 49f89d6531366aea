"""The formulas, and sub-scores of the road."""

import numpy as np
import pytest

from robotics.driving.pdm import (
    Agents,
    Ego,
    ExtendedPdm,
    Pdm,
    agents_of,
    area,
    driving_direction,
    ego_progress,
    lane_keeping,
    on_road,
    pdm,
    progress,
)
from robotics.driving.scene import Scene, Track
from tests.robotics.driving.pdm.scenes import SIZE, agents, lanes, straight


def test_pdms_by_hand() -> None:
    assert Pdm(1, 1, 1, 1, 1).score() == 1
    assert Pdm(1, 1, 0, 0.5, 1).score() == pytest.approx(4.5 / 12)
    assert Pdm(0.5, 1, 1, 1, 0).score() == pytest.approx(5 / 12)
    assert Pdm(0, 1, 1, 1, 1).score() == Pdm(1, 0, 1, 1, 1).score() == 0


def test_epdms_by_hand() -> None:
    good = dict.fromkeys(("nc", "dac", "ddc", "tlc", "ep", "ttc", "lk", "hc", "ec"), 1.0)
    assert ExtendedPdm(**good).score() == 1
    for part, left in {"ep": 11, "ttc": 11, "lk": 14, "hc": 14, "ec": 14, "nc": 0, "dac": 0, "ddc": 0, "tlc": 0}.items():
        failed = ExtendedPdm(**(good | {part: 0.0}))
        assert failed.score() == pytest.approx(left / 16)
        assert failed.score(human=failed) == 1  # not held against anyone
        assert failed.score(human=ExtendedPdm(**good)) == failed.score()
    half = ExtendedPdm(**(good | {"ddc": 0.5}))
    assert half.score(human=half) == 0.5  # only a whole failure is forgiven


def test_progress_along_a_bent_route() -> None:
    route = np.array([(0, 0), (10, 0), (10, 20)], float)
    assert progress([(2, 1), (5, 5), (11, 7)], route) == pytest.approx(15)
    assert progress([(11, 7), (2, 1)], route) == 0
    assert progress([(-3, 0), (10, 40)], route) == pytest.approx(30)  # the route's whole length
    assert ego_progress(15, 30) == 0.5
    assert ego_progress(40, 30) == 1
    assert ego_progress(0, 5) == 1
    assert ego_progress(0, 5.1) == 0


def test_drivable_area() -> None:
    leaving = straight(10.0, yaw=0.1)
    assert on_road(area(straight(), lanes())) == 1
    assert on_road(area(straight(10.0, 41, end := 0.0), lanes(end=30.0))) == end  # the road ends before the drive does
    assert on_road(area(leaving, lanes())) == 1  # into the second lane
    assert on_road(area(straight(10.0, yaw=-0.1), lanes())) == 0


@pytest.mark.parametrize(("speed", "score"), [(1.5, 1.0), (3.0, 0.5), (5.0, 0.5), (6.0, 0.0)])
def test_driving_direction_by_metres_within_a_second(speed, score) -> None:
    ego = straight(speed, y=4.0)
    assert driving_direction(ego, area(ego, lanes(opposite=True))) == score
    assert driving_direction(ego, area(ego, lanes())) == 1


def test_lane_keeping_counts_runs_and_skips_junctions() -> None:
    route = np.array([(-50, 0), (200, 0)], float)

    def wander(off: np.ndarray) -> Ego:
        x = np.arange(len(off)) * 1.0
        return Ego(np.stack([x, off, 0 * x], axis=1), np.full(len(off), 10.0), SIZE)

    y = np.zeros(41)
    y[10:29] = 0.6
    assert lane_keeping(wander(y), route) == 1  # 19 steps
    y[29] = 0.6
    assert lane_keeping(wander(y), route) == 0
    y[20] = 0.4
    assert lane_keeping(wander(y), route) == 1  # came back in between
    y[20:22] = 0.6
    junction = np.zeros(41, dtype=bool)
    junction[18:25] = True
    assert lane_keeping(wander(y), route, junction) == 1
    y[29:37] = 0.6
    assert lane_keeping(wander(y), route, junction) == 0  # the run goes on behind the junction


def test_everything_together() -> None:
    ego, route = straight(10.0), np.array([(-50, 0), (200, 0)], float)
    parts, found = pdm(ego, agents(straight(10.0, 60, start=30.0)), lanes(), route, 50.0)
    assert parts == Pdm(nc=1, dac=1, ttc=1, ep=pytest.approx(0.8), comfort=1)
    assert parts.score() == pytest.approx(11 / 12)
    assert found == []
    parts, found = pdm(ego, agents(straight(0.0, 60, start=30.0)), lanes(), route, 50.0)
    assert (parts.nc, parts.ttc, len(found)) == (0, 0, 1)
    assert parts.score() == 0


def test_agents_of_a_scene() -> None:
    def track(k: int, first: int, steps: int) -> Track:
        x = np.arange(steps, dtype=np.float32)
        return Track(k, first, np.stack([x, x * 0 + k], 1), x * 0, x * 0 + 10, 4.0 + k, 2.0)

    scene = Scene("s", "s", (), {k: track(k, first, n) for k, first, n in ((1, 0, 50), (2, 5, 10), (3, 0, 3), (4, 40, 5))})
    got = agents_of(scene, 1, 4, 20)
    assert got.boxes.shape == (20, 1, 5)  # 3 is gone and 4 has not come
    np.testing.assert_array_equal(np.isnan(got.boxes[:, 0]).all(axis=1), [t < 5 or t >= 15 for t in range(4, 24)])
    np.testing.assert_allclose(got.boxes[1, 0], (0, 2, 0, 6, 2))
    assert got.speed[1, 0] == 10
    assert isinstance(got, Agents)
    assert agents_of(scene, 1, 0, 50).boxes.shape[1] == 3
