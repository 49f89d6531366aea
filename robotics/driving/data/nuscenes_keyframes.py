"""What a nuScenes keyframe holds, and the frames of reference it is stated in.

The ego frame of the set is the planner's own (x forward, y left, origin on the ground below the rear axle). The LiDAR frame, in
which UniAD and VAD state their trajectories, has x to the right and y forward, and its origin on the roof; its trajectory is that
of the LiDAR. Poses are taken in the ground plane: x, y and heading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from robotics.driving.data.motion import F64
from robotics.driving.data.nuscenes_tables import Row
from robotics.driving.scene import RoadUser, to_ego

KINDS: tuple[tuple[str, RoadUser | None], ...] = (
    ("vehicle.emergency", "emergency_vehicle"),
    ("vehicle.bicycle", "cyclist"),
    ("vehicle.motorcycle", "cyclist"),
    ("vehicle", "vehicle"),
    ("human", "pedestrian"),
    ("animal", "animal"),
    ("movable_object.barrier", "construction"),
    ("movable_object.trafficcone", "construction"),
    ("movable_object", "road_hazard"),
    ("", None),
)
"""Beginnings of category names, the first that fits; None is left out (bicycle racks)."""

Pose = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """An annotated object at a keyframe, global frame: x y m and yaw; length, width m; kind None where the planner has none."""

    instance: str
    category: str
    kind: RoadUser | None
    pose: Pose
    size_m: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Camera:
    """A calibrated camera. intrinsic: [3, 3] px, without distortion; to_ego: [4, 4], from camera (x right, z ahead) to ego."""

    intrinsic: F64
    to_ego: F64


@dataclass(frozen=True, slots=True)
class Keyframe:
    """One sample. ego: pose in the global frame at the LiDAR's time; lidar: pose of the LiDAR in the ego frame.

    pictures, cameras: files and calibrations by channel ("CAM_FRONT", ...).
    """

    token: str
    index: int
    timestamp_us: int
    ego: Pose
    lidar: Pose
    pictures: Mapping[str, Path]
    cameras: Mapping[str, Camera]
    boxes: tuple[Box, ...]


def planar(row: Row) -> Pose:
    """x, y and heading of a row with `translation` and the quaternion `rotation`."""
    w, x, y, z = row["rotation"]
    return (
        float(row["translation"][0]),
        float(row["translation"][1]),
        float(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))),
    )


def spatial(row: Row) -> F64:
    """The transform [4, 4] of a row with `translation` and the unit quaternion `rotation`."""
    w, x, y, z = row["rotation"]
    out = np.eye(4)
    out[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    out[:3, 3] = row["translation"]
    return out


def future(keyframes: list[Keyframe], index: int, steps: int = 6, frame: Literal["ego", "lidar"] = "ego") -> F64:
    """Where the ego is at the next `steps` keyframes (0.5 s each): [n <= steps, 2] m, in the frame of keyframe `index`.

    ego: the rear axle, x forward, y left. lidar: the LiDAR, x right, y forward (UniAD, VAD). Shorter where the scene ends or a
    keyframe is missing.
    """
    now = next(k for k in keyframes if k.index == index)
    by_index = {k.index: k for k in keyframes}
    points = []
    for n in range(index + 1, index + steps + 1):
        if n not in by_index:
            break
        points.append(compose(by_index[n].ego, by_index[n].lidar)[:2] if frame == "lidar" else by_index[n].ego[:2])
    origin = compose(now.ego, now.lidar) if frame == "lidar" else now.ego
    return to_ego(np.array(points, dtype=np.float64).reshape(-1, 2), origin).astype(np.float64)


def compose(outer: Pose, inner: Pose) -> Pose:
    """The pose `inner`, given in the frame of `outer`, in the frame that `outer` is given in."""
    c, s = np.cos(outer[2]), np.sin(outer[2])
    return outer[0] + c * inner[0] - s * inner[1], outer[1] + s * inner[0] + c * inner[1], outer[2] + inner[2]
