"""Comfort against closed forms and scipy."""

import numpy as np
import pytest
from scipy.signal import savgol_filter

from edge.core.errors import InputError
from robotics.driving.pdm import Ego, comfort, extended_comfort, movement
from robotics.driving.pdm.smooth import savgol
from tests.robotics.driving.pdm.scenes import SIZE, straight


@pytest.mark.parametrize(("window", "order", "derivative"), [(9, 2, 0), (9, 2, 1), (15, 2, 1), (15, 3, 2), (5, 3, 0)])
def test_savgol_is_scipy_s(window, order, derivative) -> None:
    y = np.random.default_rng(0).normal(size=(3, 40))
    want = savgol_filter(y, window, order, deriv=derivative, delta=0.1)
    np.testing.assert_allclose(savgol(y, window, order, derivative, 0.1), want, rtol=1e-9, atol=1e-9)


def test_savgol_of_short_series() -> None:
    y = np.array([1.0, 4.0, 9.0, 16.0])  # the window shrinks to 3
    np.testing.assert_allclose(savgol(y, 15, 2, 1), savgol_filter(y, 3, 2, deriv=1))
    with pytest.raises(InputError, match="samples"):
        savgol(y[:2], 15, 2)


def drive(lon: float = 0.0, yaw_rate: float = 0.0, v0: float = 10.0, steps: int = 41) -> Ego:
    t = np.arange(steps) * 0.1
    v, yaw = v0 + lon * t, yaw_rate * t
    xy = np.cumsum(np.stack([np.cos(yaw), np.sin(yaw)], axis=1) * v[:, None] * 0.1, axis=0)
    return Ego(np.concatenate([xy, yaw[:, None]], axis=1), v, SIZE)


def test_movement_of_a_circle_and_of_braking() -> None:
    m = movement(drive(yaw_rate=0.2))
    np.testing.assert_allclose(m["yaw_rate_radps"], 0.2, atol=1e-9)
    np.testing.assert_allclose(m["lat_accel_mps2"], 2.0, atol=1e-9)
    np.testing.assert_allclose(m["lon_accel_mps2"], 0.0, atol=1e-9)
    for key in ("jerk_mps3", "lon_jerk_mps3", "yaw_accel_radps2"):
        np.testing.assert_allclose(m[key], 0.0, atol=1e-8)
    np.testing.assert_allclose(movement(drive(lon=-2.0))["lon_accel_mps2"], -2.0, atol=1e-9)


@pytest.mark.parametrize(
    ("ego", "broken"),
    [
        (drive(), None),
        (drive(lon=2.39), None),
        (drive(lon=2.41), "lon_accel_mps2"),
        (drive(lon=-4.04, v0=20), None),
        (drive(lon=-4.06, v0=20), "lon_accel_mps2"),
        (drive(yaw_rate=0.48), None),
        (drive(yaw_rate=0.49), "lat_accel_mps2"),
        (drive(yaw_rate=0.96, v0=3), "yaw_rate_radps"),
    ],
)
def test_bounds(ego, broken) -> None:
    score, bounds = comfort(ego)
    assert [b.name for b in bounds if not b.kept] == ([broken] if broken else [])
    assert score == (0.0 if broken else 1.0)


def test_jerk_and_yaw_acceleration_are_bounded() -> None:
    t = np.arange(41) * 0.1
    speed = 10 + 5.0 * (t - 2) * np.abs(t - 2) / 2  # its acceleration rises at 5 m/s3 through zero
    jerky = Ego(np.stack([np.cumsum(speed) * 0.1, 0 * t, 0 * t], axis=1), speed, SIZE)
    assert "lon_jerk_mps3" in [b.name for b in comfort(jerky)[1] if not b.kept]
    yaw = 2.0 * (t - 2) ** 2 / 2
    turning = Ego(np.stack([0 * t, 0 * t, yaw], axis=1), np.full(41, 0.1), SIZE)
    assert "yaw_accel_radps2" in [b.name for b in comfort(turning)[1] if not b.kept]


def test_yaw_may_wrap_and_short_drives_are_refused() -> None:
    ego = drive(yaw_rate=0.3)
    turned = (ego.poses[:, 2] + 3.0 + np.pi) % (2 * np.pi) - np.pi
    wrapped = Ego(np.column_stack([ego.poses[:, :2], turned]), ego.speed, SIZE)
    np.testing.assert_allclose(movement(wrapped)["yaw_rate_radps"], 0.3, atol=1e-9)
    with pytest.raises(InputError, match="5 steps"):
        comfort(straight(steps=4))


def test_extended_comfort_compares_overlapping_steps() -> None:
    whole = drive(lon=1.0, steps=46)
    before = Ego(whole.poses[:41], whole.speed[:41], SIZE)
    now = Ego(whole.poses[5:], whole.speed[5:], SIZE)
    assert extended_comfort(now, before, 5) == 1.0
    assert extended_comfort(drive(lon=1.8, v0=10.5), before, 5) == 0.0  # 0.8 m/s2 more
    assert extended_comfort(drive(lon=1.6, v0=10.5), before, 5) == 1.0
    assert extended_comfort(drive(lon=1.0, v0=10.5, yaw_rate=0.11), before, 5) == 0.0
    with pytest.raises(InputError, match="common steps"):
        extended_comfort(now, before, 40)
