"""Metrics against values worked out elsewhere and by hand."""

import numpy as np
import pytest

from edge.core.errors import InputError
from robotics.driving.metrics import ade, bootstrap_over_scenes, dense, displacement, fde, grid_errors, rfs

T = np.arange(1, 21) * 0.25
RATERS = [np.stack([v * T, 0 * T], 1) for v in (10.0, 5.0, 0.0)]


@pytest.mark.parametrize(
    ("x", "y", "v0", "score", "inside"),
    [
        (10 * T, 0 * T, 10, 9.0, True),
        (0 * T, 0 * T, 10, 3.0, True),  # no floor inside
        (11 * T, 0 * T, 12, 9.0, True),
        (11.5 * T, 0 * T, 12, 7.46285, False),
        (10 * T, 0.35 * T, 12, 8.51063, False),
        (10 * T, 0.4 * T, 12, 6.32349, False),
        (7.5 * T, 0 * T, 12, 4.0, False),
        (11.5 * T, 0 * T, 0, 4.0, False),
        (np.where(T <= 3, 10 * T, 5 * T), 0 * T, 12, 7.5, False),  # the best rater is taken per time
    ],
)
def test_rfs_golden(x, y, v0, score, inside) -> None:
    """Measured with waymo_open_dataset.metrics.python.rater_feedback_utils on three straight raters labelled 9, 6, 3."""
    got = rfs(np.stack([x, y], 1), RATERS, [9, 6, 3], v0)
    assert got[0] == pytest.approx(score, abs=1e-5)
    assert got[1] is inside


@pytest.mark.parametrize(("v0", "limits"), [(1.4, (0.5, 0.9, 2, 3.6)), (6.2, (0.75, 1.35, 3, 5.4)), (11, (1, 1.8, 4, 7.2))])
def test_rfs_trust_region(v0, limits) -> None:
    """Just inside and just outside of every threshold; the other time is met exactly."""
    lat3, lat5, lng3, lng5 = limits
    for row, axis, limit in ((11, 1, lat3), (19, 1, lat5), (11, 0, lng3), (19, 0, lng5)):
        for factor, inside in ((0.999, True), (1.001, False)):
            pred = RATERS[0].copy()
            pred[row, axis] += factor * limit
            assert rfs(pred, RATERS[:1], [9], v0)[1] is inside


def test_rfs_pads_short_raters_and_reads_a_standing_one() -> None:
    assert rfs(np.zeros((20, 2)), [np.zeros((1, 2))], [8], 0.0) == (8.0, True)
    off = np.full((20, 2), (0.0, 0.6))  # to the left of a standing rater: lateral, since the first direction is forward
    assert rfs(off, [np.zeros((1, 2))], [8], 0.0)[1] is False
    assert rfs(off[:, ::-1], [np.zeros((1, 2))], [8], 0.0)[1] is True


def test_rfs_refuses_wrong_shapes() -> None:
    with pytest.raises(InputError, match="score per rater"):
        rfs(np.zeros((5, 2)), RATERS, [9, 6, 3], 0)
    with pytest.raises(InputError):
        rfs(np.zeros((20, 2)), [], [], 0)


def test_dense_goes_through_waypoints_and_leaves_with_the_velocity() -> None:
    w = np.array([[10, 0.1], [19, 0.5], [27, 1.0], [34, 2.0], [40, 4.0]], float)
    at = dense(w, 10.0, np.array([1e-4, 1, 2, 3, 4, 5]))
    np.testing.assert_allclose(at[1:], w, atol=1e-9)
    np.testing.assert_allclose(at[0] / 1e-4, [10, 0], atol=0.01)
    np.testing.assert_allclose(dense(w, np.array([10.0, 0.0])), dense(w, 10.0))


def test_dense_reproduces_cubics_in_batches() -> None:
    t = np.arange(1, 6.0)
    poly = lambda s: np.stack([12 * s - 0.8 * s**2 + 0.05 * s**3, 0.3 * s**2 - 0.02 * s**3], -1)  # noqa: E731
    grid = np.arange(1, 11) * 0.5
    got = dense(np.stack([poly(t), 2 * poly(t)]), np.array([[12.0, 0.0], [24.0, 0.0]]))
    np.testing.assert_allclose(got, np.stack([poly(grid), 2 * poly(grid)]), atol=1e-9)


def test_displacement_errors_by_hand() -> None:
    truth = np.zeros((10, 2))
    pred = np.stack([3 * np.arange(1, 11), 4 * np.arange(1, 11)], 1)  # 5, 10, ..., 50 m off
    np.testing.assert_allclose(displacement(pred, truth), 5 * np.arange(1, 11))
    assert ade(pred, truth, 3) == pytest.approx(17.5)
    assert ade(pred, truth) == pytest.approx(27.5)
    assert fde(pred, truth, 3) == pytest.approx(30)
    assert fde(pred, truth) == pytest.approx(50)


def test_grid_errors_pick_every_fifth_step() -> None:
    future = np.stack([np.arange(1, 51) * 0.1, np.zeros(50)], 1)
    path = np.stack([np.arange(1, 11) * 0.5, np.ones(10)], 1)
    np.testing.assert_allclose(grid_errors(path, future), np.ones(10))


def test_bootstrap_over_scenes() -> None:
    rng = np.random.default_rng(1)
    level = rng.normal(5, 1, 12)
    errors, scenes = np.repeat(level, 50) + rng.normal(0, 0.1, 600), [f"s{i}" for i in range(12) for _ in range(50)]
    mean, low, high = bootstrap_over_scenes(errors, scenes, n=500)
    assert low < mean < high
    assert mean == pytest.approx(errors.mean())
    single = bootstrap_over_scenes(errors, [str(i) for i in range(600)], n=500)
    assert (high - low) > 4 * (single[2] - single[1])  # windows of a scene are not independent
    assert bootstrap_over_scenes(errors, scenes, n=500) == (mean, low, high)
    assert bootstrap_over_scenes([2.0, 2.0], ["a", "a"], n=10) == (2.0, 2.0, 2.0)
