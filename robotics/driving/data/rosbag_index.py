"""What a ROS recording holds: topics, stamps of the pictures, odometry; read once, the pictures when they are looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from edge.core.errors import InputError, MissingExtraError
from robotics.driving.damage import Damage
from robotics.driving.data.motion import F64
from robotics.driving.data.ros_images import pixels
from robotics.driving.scene import CAMERAS

try:
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore
except ImportError as e:
    raise MissingExtraError("rosbags", "robot", "reading rosbag and MCAP recordings") from e

ODOMETRY = "nav_msgs/msg/Odometry"
IMAGES = ("sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/Image")


@dataclass(frozen=True, slots=True)
class Topics:
    """Which topic is which. None is found by its type and name: the only odometry, images with front_left, front, front_right."""

    front_left: str | None = None
    front: str | None = None
    front_right: str | None = None
    odometry: str | None = None


@dataclass(frozen=True)
class Index:
    """What a bag holds: stamps of the pictures by camera, and the ego's motion; the pictures themselves stay in the file.

    stamps: camera -> (stamp ns, time in the bag ns), by stamp. times s [N], xy m [N, 2], yaw rad [N] of the odometry.
    """

    path: Path
    topics: dict[str, str]
    stamps: dict[str, list[tuple[int, int]]]
    times_s: F64
    xy: F64
    yaw: F64
    damaged: list[Damage] = field(default_factory=list)


@lru_cache(maxsize=2)
def _open(path: Path) -> AnyReader:
    """An opened bag, kept for the next picture. Raises InputError for a file that is none."""
    try:
        reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
        reader.open()
    except Exception as e:  # the reader meets whatever bytes the file holds
        raise InputError(f"{path}: not a readable bag ({type(e).__name__}: {' '.join(str(e).split())})") from None
    return reader


def read_index(path: Path, topics: Topics) -> Index:
    """Read odometry and stamps. Raises InputError for a bag that cannot be opened or lacks a topic."""
    reader = _open(path)
    chosen = _choose(reader, topics, path)
    cameras = {topic: [c for c in CAMERAS if chosen[c] == topic] for topic in chosen.values()}
    stamps: dict[str, list[tuple[int, int]]] = {c: [] for c in CAMERAS}
    rows: list[tuple[float, float, float, float]] = []
    damaged: list[Damage] = []
    messages = reader.messages([c for c in reader.connections if c.topic in cameras])
    at = 0
    while True:
        try:
            connection, at, raw = next(messages)
        except StopIteration:
            break
        except Exception as e:  # a broken chunk: what the reader cannot find its way past ends the bag
            damaged.append(Damage(f"{path.name} after {at} ns", f"bag is broken, the rest is lost: {' '.join(str(e).split())}"))
            break
        try:
            message: Any = reader.deserialize(raw, connection.msgtype)
            stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec or at
            if connection.topic == chosen["odometry"]:
                rows.append((stamp * 1e-9, *_pose(message)))
            for camera in cameras[connection.topic]:
                stamps[camera].append((stamp, at))
        except Exception as e:  # one message whose bytes do not fit its type
            damaged.append(Damage(f"{path.name} {connection.topic} at {at} ns", f"message is broken: {' '.join(str(e).split())}"))
    a = np.array(sorted(rows), dtype=np.float64).reshape(-1, 4)
    a = a[np.concatenate([[True], np.diff(a[:, 0]) > 0])] if len(a) else a
    return Index(path, chosen, {c: sorted(s) for c, s in stamps.items()}, a[:, 0], a[:, 1:3], a[:, 3], damaged)


def _pose(message: Any) -> tuple[float, float, float]:
    p, q = message.pose.pose.position, message.pose.pose.orientation
    pose = float(p.x), float(p.y), float(np.arctan2(2 * (q.w * q.z + q.x * q.y), 1 - 2 * (q.y * q.y + q.z * q.z)))
    if not np.isfinite(pose).all():
        raise ValueError("pose is not finite")
    return pose


def _choose(reader: AnyReader, topics: Topics, path: Path) -> dict[str, str]:
    """Camera or "odometry" -> topic."""
    kinds = {c.topic: c.msgtype for c in reader.connections}
    images = sorted(t for t, kind in kinds.items() if kind in IMAGES)
    found = {"odometry": topics.odometry or _only([t for t, kind in kinds.items() if kind == ODOMETRY], "odometry", path)}
    for camera in CAMERAS:
        sides = [t for t in images if ("front_left" in t, "front_right" in t) == (camera == "front_left", camera == "front_right")]
        given = getattr(topics, camera)
        found[camera] = given or _only([t for t in sides if "front" in t], camera, path)
    unknown = [t for t in found.values() if t not in kinds]
    if unknown:
        raise InputError(f"{path}: no topic {', '.join(unknown)}; it has {', '.join(sorted(kinds)) or 'none'}")
    return found


def _only(candidates: list[str], what: str, path: Path) -> str:
    if len(candidates) != 1:
        raise InputError(f"{path}: which topic is {what}? found {', '.join(candidates) or 'none'}; say so with --topic {what}=NAME")
    return candidates[0]


def fetch(path: Path, topic: str, at: int) -> bytes | np.ndarray:
    """The picture recorded at time `at` of a topic."""
    reader = _open(path)
    try:
        for connection, _, raw in reader.messages([c for c in reader.connections if c.topic == topic], at, at + 1):
            return pixels(reader.deserialize(raw, connection.msgtype))
    except InputError:
        raise
    except Exception as e:  # see read_index
        raise InputError(f"camera picture is broken: {topic} at {at} ns: {' '.join(str(e).split())}") from None
    raise InputError(f"camera picture is missing: {topic} at {at} ns")
