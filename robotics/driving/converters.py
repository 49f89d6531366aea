"""Plans in the words of others: Autoware, ROS, CARLA, and the WOD-E2E grid. Plain dictionaries and arrays.

Ours: right-handed, x forward, y left, yaw counter-clockwise (ISO 8855, as ROS REP-103 and Autoware's base_link), origin at the rear
axle of the moment of the sensor stamp. A `pose` (x m, y m, yaw rad) places that frame in another one, such as a map; by default
nothing is moved.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge.core.errors import InputError
from robotics.driving.safety.trajectory import COLUMNS, TIMES_S, Trajectory

F64 = NDArray[np.float64]
Pose = tuple[float, float, float]

HERE: Pose = (0.0, 0.0, 0.0)
WOD_TIMES_S = np.arange(1, 21) * 0.25
"""A WOD-E2E submission has 20 points at 4 Hz, the first a quarter of a second from now."""


def placed(trajectory: Trajectory, pose: Pose) -> Trajectory:
    """The trajectory in the frame that `pose` is given in."""
    x0, y0, yaw = pose
    c, s = math.cos(yaw), math.sin(yaw)
    points = trajectory.points.copy()
    points[:, 1] = x0 + c * trajectory.x - s * trajectory.y
    points[:, 2] = y0 + s * trajectory.x + c * trajectory.y
    points[:, 3] = trajectory.yaw + yaw
    return Trajectory(points)


def autoware(
    trajectory: Trajectory, stamp_ns: int = 0, frame_id: str = "base_link", pose: Pose = HERE, wheelbase_m: float = 2.8
) -> dict[str, Any]:
    """An `autoware_planning_msgs/msg/Trajectory` as a dictionary (autoware_msgs: TrajectoryPoint.msg). wheelbase_m: for the angle
    of the front wheels, atan(wheelbase kappa)."""
    t = placed(trajectory, pose)
    points = [
        {
            "time_from_start": _duration(p["t"]),
            "pose": _pose(p["x"], p["y"], p["yaw"]),
            "longitudinal_velocity_mps": p["v"],
            "lateral_velocity_mps": 0.0,
            "acceleration_mps2": p["a"],
            "heading_rate_rps": p["v"] * p["kappa"],
            "front_wheel_angle_rad": math.atan(wheelbase_m * p["kappa"]),
            "rear_wheel_angle_rad": 0.0,
        }
        for p in _rows(t)
    ]
    return {"header": _header(stamp_ns, frame_id), "points": points}


def from_autoware(message: dict[str, Any], pose: Pose = HERE, wheelbase_m: float = 2.8) -> Trajectory:
    """The inverse of `autoware`. Raises InputError for a message that has not 51 points 0.1 s apart."""
    rows = []
    for p in message["points"]:
        t = p["time_from_start"]["sec"] + p["time_from_start"]["nanosec"] / 1e9
        x, y, yaw = _from_pose(p["pose"])
        kappa = math.tan(p["front_wheel_angle_rad"]) / wheelbase_m
        rows.append((t, x, y, yaw, p["longitudinal_velocity_mps"], p["acceleration_mps2"], kappa))
    return placed(_trajectory(rows), _inverse(pose))


def ros_path(trajectory: Trajectory, stamp_ns: int = 0, frame_id: str = "base_link", pose: Pose = HERE) -> dict[str, Any]:
    """A `nav_msgs/msg/Path` as a dictionary. Each pose carries its own time; speeds have no place there."""
    t = placed(trajectory, pose)
    poses = [
        {"header": _header(stamp_ns + round(p["t"] * 1e9), frame_id), "pose": _pose(p["x"], p["y"], p["yaw"])} for p in _rows(t)
    ]
    return {"header": _header(stamp_ns, frame_id), "poses": poses}


def from_ros_path(message: dict[str, Any]) -> F64:
    """Poses of a `nav_msgs/msg/Path`: [n, 4], columns t s from the path's own stamp, x m, y m, yaw rad (continuous)."""
    start = _nanoseconds(message["header"])
    rows = [((_nanoseconds(p["header"]) - start) / 1e9, *_from_pose(p["pose"])) for p in message["poses"]]
    out = np.array(rows, dtype=np.float64).reshape(-1, 4)
    out[:, 3] = np.unwrap(out[:, 3])
    return out


def carla(trajectory: Trajectory) -> list[dict[str, Any]]:
    """In CARLA's frame, which is left-handed: y to the right, yaw clockwise and in degrees. Relative to the ego, as CARLA's
    `Transform` applies it. Curvature is positive to the right there."""
    return [
        {
            "time_s": p["t"],
            "location": {"x": p["x"], "y": -p["y"] + 0.0, "z": 0.0},
            "rotation": {"pitch": 0.0, "yaw": -math.degrees(p["yaw"]) + 0.0, "roll": 0.0},
            "speed_mps": p["v"],
            "acceleration_mps2": p["a"],
            "curvature_per_m": -p["kappa"] + 0.0,
        }
        for p in _rows(trajectory)
    ]


def from_carla(points: list[dict[str, Any]]) -> Trajectory:
    """The inverse of `carla`."""
    return _trajectory(
        [
            (
                p["time_s"],
                p["location"]["x"],
                -p["location"]["y"],
                -math.radians(p["rotation"]["yaw"]),
                p["speed_mps"],
                p["acceleration_mps2"],
                -p["curvature_per_m"],
            )
            for p in points
        ]
    )


def wod_points(trajectory: Trajectory) -> F64:
    """[20, 2] m at 0.25, 0.5, ..., 5 s: what a WOD-E2E submission holds. Between points of the trajectory by cubic Hermite pieces
    that keep its speeds and headings."""
    velocity = trajectory.v[:, None] * np.stack([np.cos(trajectory.yaw), np.sin(trajectory.yaw)], axis=1)
    return hermite(TIMES_S, trajectory.xy, velocity, WOD_TIMES_S)


def hermite(times_s: ArrayLike, places: ArrayLike, velocities: ArrayLike, at_s: ArrayLike) -> F64:
    """Cubic Hermite interpolation: times [n]; places and velocities [n, 2]; at [k] -> [k, 2]."""
    t, p, v = (np.asarray(a, dtype=np.float64) for a in (times_s, places, velocities))
    at = np.asarray(at_s, dtype=np.float64)
    i = np.clip(np.searchsorted(t, at, side="right") - 1, 0, len(t) - 2)
    h = (t[i + 1] - t[i])[:, None]
    u = (at - t[i])[:, None] / h
    return (
        (1 + 2 * u) * (1 - u) ** 2 * p[i]
        + u * (1 - u) ** 2 * h * v[i]
        + u**2 * (3 - 2 * u) * p[i + 1]
        + u**2 * (u - 1) * h * v[i + 1]
    )


def _rows(trajectory: Trajectory) -> list[dict[str, float]]:
    return [dict(zip(COLUMNS, row, strict=True)) for row in trajectory.points.tolist()]


def _trajectory(rows: list[tuple[float, ...]]) -> Trajectory:
    points = np.array(rows, dtype=np.float64)
    if points.shape != (TIMES_S.size, len(COLUMNS)) or np.abs(points[:, 0] - TIMES_S).max() > 1e-6:
        raise InputError(f"a trajectory has {TIMES_S.size} points 0.1 s apart: got {len(rows)}")
    points[:, 0], points[:, 3] = TIMES_S, np.unwrap(points[:, 3])
    return Trajectory(points)


def _inverse(pose: Pose) -> Pose:
    x, y, yaw = pose
    c, s = math.cos(yaw), math.sin(yaw)
    return -c * x - s * y, s * x - c * y, -yaw


def _header(stamp_ns: int, frame_id: str) -> dict[str, Any]:
    return {"stamp": {"sec": stamp_ns // 10**9, "nanosec": stamp_ns % 10**9}, "frame_id": frame_id}


def _nanoseconds(header: dict[str, Any]) -> int:
    return header["stamp"]["sec"] * 10**9 + header["stamp"]["nanosec"]


def _duration(seconds: float) -> dict[str, int]:
    ns = round(seconds * 1e9)
    return {"sec": ns // 10**9, "nanosec": ns % 10**9}


def _pose(x: float, y: float, yaw: float) -> dict[str, Any]:
    """geometry_msgs/Pose: the quaternion of a turn about z."""
    turn = {"x": 0.0, "y": 0.0, "z": math.sin(yaw / 2), "w": math.cos(yaw / 2)}
    return {"position": {"x": x, "y": y, "z": 0.0}, "orientation": turn}


def _from_pose(pose: dict[str, Any]) -> Pose:
    q, p = pose["orientation"], pose["position"]
    return p["x"], p["y"], math.atan2(2 * (q["w"] * q["z"] + q["x"] * q["y"]), 1 - 2 * (q["y"] ** 2 + q["z"] ** 2))
