"""Boxes against slow twins."""

import numpy as np
import pytest

from robotics.driving.pdm.boxes import corners, crosses, overlap
from tests.robotics.driving.pdm.shapes import corner_points, shared_area


def some_boxes(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.column_stack([rng.uniform(-6, 6, (n, 2)), rng.uniform(-7, 7, n), rng.uniform(0.5, 8, n), rng.uniform(0.5, 3, n)])


def test_overlap_agrees_with_shared_area() -> None:
    rng = np.random.default_rng(0)
    a, b = some_boxes(rng, 3000), some_boxes(rng, 3000)
    shared = np.array([shared_area(p, q) for p, q in zip(a, b, strict=True)])
    np.testing.assert_array_equal(overlap(a, b), shared > 0)
    np.testing.assert_array_equal(overlap(a, b), overlap(b, a))
    assert 0.1 < (shared > 0).mean() < 0.8  # both happen


def test_overlap_of_boxes_that_touch_and_of_absent_ones() -> None:
    a = np.array([0, 0, 0, 4, 2.0])
    assert overlap(a, [4, 0, 0, 4, 2])
    assert not overlap(a, [4.001, 0, 0, 4, 2])
    assert overlap(a, [0, 0, 1, 0.1, 0.1])  # wholly inside
    assert not overlap(a, np.full(5, np.nan))
    assert overlap(a[None, None], np.zeros((3, 2, 5))).shape == (3, 2)


def test_corners_go_round_from_the_front_left() -> None:
    rng = np.random.default_rng(1)
    boxes = some_boxes(rng, 50)
    np.testing.assert_allclose(corners(boxes), [corner_points(b) for b in boxes], atol=1e-12)
    np.testing.assert_allclose(corners([1, 2, 0, 4, 2]), [(3, 3), (3, 1), (-1, 1), (-1, 3)])


@pytest.mark.parametrize(
    ("segment", "hit"),
    [
        (((-5, 0), (5, 0)), True),
        (((-5, 1.5), (5, 1.5)), False),
        (((3, -5), (3, 5)), False),
        (((0, 0), (0.1, 0)), True),
        (((-3, 0), (0, 3.2)), False),  # past the corner
        (((-3, 0), (-2.5, 5)), False),
        (((-3, -1), (0, 2)), True),
    ],
)
def test_segments_across_a_box(segment, hit) -> None:
    assert bool(crosses(np.array(segment, float), [0, 0, 0, 4, 2])) is hit
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])  # the same, all of it turned by a quarter
    assert bool(crosses(np.array(segment, float) @ turn, [0, 0, np.pi / 2, 4, 2])) is hit
