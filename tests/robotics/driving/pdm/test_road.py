"""On which lanes the ego is."""

import numpy as np
import pytest

from edge.core.errors import InputError
from robotics.driving.pdm import Ego, Road, area
from robotics.driving.pdm.road import to_segments, within
from tests.robotics.driving.pdm.scenes import lanes, straight
from tests.robotics.driving.pdm.shapes import winding


def test_within_agrees_with_winding() -> None:
    rng = np.random.default_rng(0)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 12))
    outline = np.stack([np.cos(angle), np.sin(angle)], axis=1) * rng.uniform(2, 9, (12, 1))  # a star: not convex
    points = rng.uniform(-9, 9, (2000, 2))
    want = np.array([winding(tuple(p), outline) for p in points])
    np.testing.assert_array_equal(within(points, outline), want)
    assert 0.1 < want.mean() < 0.9
    near = to_segments(points, outline, np.roll(outline, -1, axis=0)).min(axis=1) <= 0.5
    np.testing.assert_array_equal(within(points, outline, 0.5), want | near)


def test_points_on_a_shared_bound_are_in_one_lane() -> None:
    held = lanes().inside([(3.3, 2.0), (10.0, 2.0), (3.3, 0.0), (3.3, 7.0)])
    np.testing.assert_array_equal(held.sum(axis=1), [1, 1, 1, 0])


@pytest.mark.parametrize(
    ("y", "several", "off"), [(0.0, False, False), (2.0, True, False), (4.0, False, False), (5.5, False, True), (-9.0, False, True)]
)
def test_area_by_hand(y, several, off) -> None:
    where = area(straight(y=y), lanes())
    assert (where.several_lanes == several).all()
    assert (where.off_road == off).all()
    assert not where.oncoming.any()


def test_against_the_traffic() -> None:
    assert area(straight(y=4.0), lanes(opposite=True)).oncoming.all()
    assert not area(straight(y=0.0), lanes(opposite=True)).oncoming.any()
    back = straight(y=4.0, yaw=np.pi, start=40)
    assert not area(back, lanes(opposite=True)).oncoming.any()
    assert area(back, lanes()).oncoming.all()
    both = Road([*lanes().lanes, *lanes(opposite=True).lanes])  # lanes of both ways on top of each other, as in a junction
    assert not area(straight(y=4.0), both).oncoming.any()


def test_a_road_without_lanes_says_so() -> None:
    with pytest.raises(InputError, match="no lanes"):
        area(straight(), Road(()))


def test_an_ego_of_wrong_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"\[T, 3\]"):
        Ego(np.zeros((5, 2)), np.zeros(5), (4, 2))
    with pytest.raises(InputError, match="finite"):
        Ego(np.full((5, 3), np.nan), np.zeros(5), (4, 2))
