"""Displacement errors by hand."""

import numpy as np
import pytest

from robotics.driving.metrics import ade, displacement, fde, grid_errors


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
