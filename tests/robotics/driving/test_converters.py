"""Plans in others' words and back, with values worked out by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.errors import InputError
from robotics.driving import converters
from robotics.driving.safety.braking import arc_stop
from robotics.driving.safety.ego import Ego
from robotics.driving.safety.profile import VehicleProfile
from robotics.driving.safety.resample import resample, route
from robotics.driving.safety.trajectory import Trajectory

trajectories = st.builds(
    lambda v, a, w: arc_stop(Ego(v, a, w), VehicleProfile().comfort_brake, VehicleProfile()),
    st.floats(0, 40),
    st.floats(-5, 2),
    st.floats(-0.6, 0.6),
)
poses = st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.floats(-math.pi, math.pi))
LEFT = resample(route(np.array([[9.9, 1.0], [19.5, 3.9], [28.3, 8.6], [36.0, 15.0], [42.4, 22.6]])), 10.0)


def same(a: Trajectory, b: Trajectory, tolerance: float = 1e-6) -> None:
    turns = np.round((a.yaw - b.yaw) / (2 * np.pi)) * 2 * np.pi
    assert np.ptp(turns) == 0
    points = b.points.copy()
    points[:, 3] += turns
    np.testing.assert_allclose(a.points, points, atol=tolerance)


@settings(max_examples=100, deadline=None)
@given(trajectory=trajectories, pose=poses)
def test_round_trips(trajectory: Trajectory, pose: tuple[float, float, float]) -> None:
    same(converters.from_autoware(converters.autoware(trajectory, 5, "map", pose), pose), trajectory)
    same(converters.from_carla(converters.carla(trajectory)), trajectory)
    path = converters.from_ros_path(converters.ros_path(trajectory, 7))
    np.testing.assert_allclose(path[:, :3], trajectory.points[:, :3], atol=1e-6)
    np.testing.assert_allclose(path[:, 3] - path[0, 3], trajectory.yaw, atol=1e-6)


def test_autoware_as_worked_out_by_hand() -> None:
    """A left bend, placed in a map where the ego looks along y."""
    made = converters.autoware(LEFT, 1_700_000_000_123_456_789, "map", (100.0, 50.0, math.pi / 2))
    assert made["header"] == {"stamp": {"sec": 1_700_000_000, "nanosec": 123_456_789}, "frame_id": "map"}
    assert len(made["points"]) == 51
    first, last = made["points"][0], made["points"][25]
    assert first["pose"]["position"] == {"x": 100.0, "y": 50.0, "z": 0.0}
    assert first["pose"]["orientation"]["z"] == pytest.approx(math.sqrt(0.5))
    assert first["longitudinal_velocity_mps"] == 10.0
    assert last["time_from_start"] == {"sec": 2, "nanosec": 500_000_000}
    assert last["pose"]["position"]["y"] == pytest.approx(50 + LEFT.x[25])
    assert last["pose"]["position"]["x"] == pytest.approx(100 - LEFT.y[25])
    assert last["heading_rate_rps"] == pytest.approx(LEFT.v[25] * LEFT.kappa[25])
    assert last["front_wheel_angle_rad"] == pytest.approx(math.atan(2.8 * LEFT.kappa[25]))
    assert last["front_wheel_angle_rad"] > 0  # to the left
    assert set(first) == {
        "time_from_start",
        "pose",
        "longitudinal_velocity_mps",
        "lateral_velocity_mps",
        "acceleration_mps2",
        "heading_rate_rps",
        "front_wheel_angle_rad",
        "rear_wheel_angle_rad",
    }
    json.dumps(made, allow_nan=False)


def test_carla_is_left_handed() -> None:
    made = converters.carla(LEFT)
    assert made[50]["location"]["x"] == LEFT.x[50]
    assert made[50]["location"]["y"] == -LEFT.y[50] < -20
    assert made[50]["rotation"]["yaw"] == pytest.approx(-math.degrees(LEFT.yaw[50]))
    assert made[50]["curvature_per_m"] == -LEFT.kappa[50] < 0


def test_other_lengths_are_refused() -> None:
    made = converters.carla(LEFT)
    with pytest.raises(InputError, match="51 points"):
        converters.from_carla(made[:-1])
    late = converters.autoware(LEFT)
    late["points"][3]["time_from_start"]["sec"] = 2
    with pytest.raises(InputError, match=r"0\.1 s apart"):
        converters.from_autoware(late)


@settings(max_examples=50, deadline=None)
@given(v=st.floats(0, 30), a=st.floats(-2, 2), kappa=st.floats(-0.05, 0.05))
def test_the_wod_grid_against_the_closed_form(v: float, a: float, kappa: float) -> None:
    """A circle driven with constant acceleration, whose points are known at any time."""

    def at(t: np.ndarray) -> np.ndarray:
        run = t if a >= 0 else np.minimum(t, v / -a)
        s = v * run + a * run**2 / 2
        yaw = kappa * s
        return np.stack([s * np.sinc(yaw / np.pi), s * np.sin(yaw / 2) * np.sinc(yaw / 2 / np.pi), yaw, v + a * run], axis=1)

    dense = at(np.arange(51) * 0.1)
    trajectory = Trajectory.of(dense[:, 0], dense[:, 1], dense[:, 2], dense[:, 3], np.full(51, a), np.full(51, kappa))
    points = converters.wod_points(trajectory)
    assert points.shape == (20, 2)
    np.testing.assert_allclose(points, at(converters.WOD_TIMES_S)[:, :2], atol=2e-3)
    np.testing.assert_allclose(points[1::2], trajectory.xy[5::5], atol=1e-9)
