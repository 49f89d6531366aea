"""Recordings of ROS 1 and ROS 2 (bag, db3, mcap) replayed to the planner: camera pictures by nearest stamp, motion from odometry.

A moment is a picture of the front camera. The pose in `nav_msgs/Odometry` is taken to be that of the rear axle (base_link of
REP 105). Read with the package `rosbags`: no ROS installation is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from edge.core.errors import InputError
from robotics.driving.damage import Damage
from robotics.driving.data.motion import DT_S, F64, poses_at, track
from robotics.driving.data.pictures import Picture, ordered
from robotics.driving.data.request import PlanRequest, request_of
from robotics.driving.data.rosbag_index import Index, Topics, fetch, read_index
from robotics.driving.scene import CAMERAS, FUTURE_STEPS, HISTORY_STEPS, Ego, Scene

NEAR_S = 0.1
"""A picture of another camera belongs to a moment when it is no further away than this."""
GAP_S = 0.5
"""Odometry further apart than this is not joined."""
EGO_SIZE_M = (4.8, 1.9)


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


def _scene(index: Index, stamp: int) -> Scene:
    pictures: dict[str, Picture] = {}
    for camera in CAMERAS:
        found = index.stamps[camera]
        nearest = min(found, key=lambda s: abs(s[0] - stamp), default=None)
        if nearest is None or abs(nearest[0] - stamp) > NEAR_S * 1e9:
            raise InputError(f"no picture within {NEAR_S} s: camera {camera}")
        pictures[camera] = partial(fetch, index.path, index.topics[camera], nearest[1])
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
