"""The path through waypoints, against scipy and by hand."""

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from robotics.driving.metrics import dense


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_dense_is_scipy_s_spline(n) -> None:
    rng = np.random.default_rng(n)
    w, v = rng.normal(0, 20, (4, n, 2)), rng.normal(0, 10, (4, 2))
    t = np.linspace(0, n, 41)
    knots = np.concatenate([np.zeros((4, 1, 2)), w], axis=1)
    for got, y, slope in zip(dense(w, v, t), knots, v, strict=True):
        want = CubicSpline(np.arange(n + 1.0), y, bc_type=((1, slope), "not-a-knot"))(t)
        np.testing.assert_allclose(got, want, atol=1e-9)


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
