"""Recordings of ROS 1 and ROS 2 (bag, db3, mcap) replayed to the planner: camera pictures by nearest stamp, motion from odometry.

A moment is a picture of the front camera. The pose in `nav_msgs/Odometry` is taken to be that of the rear axle (base_link of
REP 105). Read with the package `rosbags`: no ROS installation is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from edge.core.errors import InputError, MissingExtraError
from robotics.driving.damage import Damage
from robotics.driving.data.motion import DT_S, F64, poses_at, track
from robotics.driving.data.pictures import Picture, ordered
from robotics.driving.data.request import PlanRequest, request_of
from robotics.driving.data.ros_images import pixels
from robotics.driving.scene import CAMERAS, FUTURE_STEPS, HISTORY_STEPS, Ego, Scene

try:
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore
except ImportError as e:
    raise MissingExtraError("rosbags", "robot", "reading rosbag and MCAP recordings") from e

ODOMETRY = "nav_msgs/msg/Odometry"
IMAGES = ("sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/Image")
NEAR_S = 0.1
"""A picture of another camera belongs to a moment when it is no further away than this."""
GAP_S = 0.5
"""Odometry further apart than this is not joined."""
EGO_SIZE_M = (4.8, 1.9)


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


def scenes(path: str | Path, topics: Topics | None = None, stride_steps: int = 5) -> Iterator[Scene | Damage]:
    """Moments of a bag at least `stride_steps` tenths of a second apart as scenes, with a Damage for each that lacks something.

    Raises InputError for a bag that cannot be opened or lacks a topic.
    """
    index = read_index(Path(path), topics or Topics())
    yield from index.damaged
    last = -np.inf
    for stamp, _ in index.stamps["front"]:
        if stamp * 1e-9 - last < (stride_steps - 0.5) * DT_S:
            continue
        last = stamp * 1e-9
        try:
            yield _scene(index, stamp)
        except InputError as e:
            yield Damage(f"{index.path.name}:{stamp}", str(e))


def requests(path: str | Path, topics: Topics | None = None, stride_steps: int = 1) -> Iterator[PlanRequest | Damage]:
    """The planner's requests as they would have come on the road: at every moment, known from odometry up to it."""
    for item in scenes(path, topics, stride_steps):
        if isinstance(item, Damage):
            yield item
            continue
        try:
            yield request_of(item)
        except InputError as e:
            assert item.ego is not None
            yield Damage(f"{item.name}:{item.ego.frame}", str(e))


# --- the file ---------------------------------------------------------------------------------------------------------------


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


def _fetch(path: Path, topic: str, at: int) -> bytes | np.ndarray:
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


# --- moments ----------------------------------------------------------------------------------------------------------------


def _scene(index: Index, stamp: int) -> Scene:
    pictures: dict[str, Picture] = {}
    for camera in CAMERAS:
        found = index.stamps[camera]
        nearest = min(found, key=lambda s: abs(s[0] - stamp), default=None)
        if nearest is None or abs(nearest[0] - stamp) > NEAR_S * 1e9:
            raise InputError(f"no picture within {NEAR_S} s: camera {camera}")
        pictures[camera] = partial(_fetch, index.path, index.topics[camera], nearest[1])
    first, xy, yaw = _motion(index, stamp * 1e-9)
    ego = track(0, first, xy, yaw, EGO_SIZE_M)
    moment = Ego(0, HISTORY_STEPS, str(stamp), ordered(pictures, f"{index.path.name}:{stamp}"), stamp_ns=stamp)
    return Scene(index.path.stem, "rosbag", (), {0: ego}, DT_S, moment, boxes=False)


def _motion(index: Index, t0: float) -> tuple[int, F64, F64]:
    """First step, positions [T, 2] and headings [T] about t0, as far as odometry goes without a gap.

    The newest odometry may be a little older than the picture: the last step before the present is then moved on at its speed.
    """
    times = index.times_s
    past = int(np.searchsorted(times, t0, side="right"))
    if past < 2 or t0 - times[past - 1] > NEAR_S + 1e-6:
        raise InputError(f"no odometry within {NEAR_S} s before the picture")
    gaps = np.flatnonzero(np.diff(times) > GAP_S)
    start = int(gaps[gaps < past - 1].max()) + 1 if (gaps < past - 1).any() else 0
    stop = int(gaps[gaps >= past - 1].min()) + 1 if (gaps >= past - 1).any() else len(times)
    steps = np.arange(-HISTORY_STEPS, FUTURE_STEPS + 1)
    at: F64 = np.asarray(t0 + steps * DT_S, dtype=np.float64)
    inside = (at >= times[start] - 1e-6) & ((steps <= 0) | (at <= times[stop - 1] + 1e-6))
    before = _carried(times[start:past], index.xy[start:past], index.yaw[start:past], at[inside & (steps <= 0)])
    after = poses_at(times[start:stop], index.xy[start:stop], index.yaw[start:stop], at[inside & (steps > 0)])
    yaw = np.unwrap(np.concatenate([before[1], after[1]]))
    return int(steps[inside][0]) + HISTORY_STEPS, np.concatenate([before[0], after[0]]), yaw


def _carried(times: F64, xy: F64, yaw: F64, at: F64) -> tuple[F64, F64]:
    """Poses at `at`, those after the last sample carried on at its velocity: nothing later than the picture is used."""
    where, heading = poses_at(times, xy, yaw, np.minimum(at, times[-1]))
    if len(times) < 2:
        return where, heading
    over = np.maximum(at - times[-1], 0.0)
    dt = times[-1] - times[-2]
    rate = float(np.unwrap(yaw[-2:])[1] - yaw[-2]) / dt
    return where + over[:, None] * (xy[-1] - xy[-2]) / dt, heading + over * rate
