"""nuScenes keyframes as planning scenes: ten steps a second about the keyframe, boxes joined between keyframes."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from edge.core.errors import InputError
from robotics.driving.data.motion import DT_S, F64, poses_at, track
from robotics.driving.data.nuscenes_keyframes import Box, Keyframe
from robotics.driving.data.pictures import Picture, ordered
from robotics.driving.scene import FUTURE_STEPS, HISTORY_STEPS, Ego, RoadUser, Scene, Track

CHANNELS = ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT")
EGO_SIZE_M = (4.084, 1.85)
"""Length and width of the recording vehicle, as the planning benchmarks take them (UniAD)."""
EGO_ID = 0
GAP_S = 0.8
"""Boxes of one object further apart in time are not joined: keyframes are 0.5 s apart."""


def runs(keyframes: list[Keyframe]) -> list[tuple[F64, F64, Box]]:
    """Every object over the keyframes that show it without a gap: (times s [N], poses [N, 3], one of its boxes)."""
    seen: dict[str, list[tuple[float, Box]]] = defaultdict(list)
    for k in keyframes:
        for box in k.boxes:
            if box.kind is not None:
                seen[box.instance].append((k.timestamp_us * 1e-6, box))
    out = []
    for rows in seen.values():
        times = np.array([t for t, _ in rows])
        poses = np.array([b.pose for _, b in rows])
        for part in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(times) > GAP_S) + 1):
            out.append((times[part], poses[part], rows[part[0]][1]))
    return out


def scene(name: str, k: Keyframe, motion: tuple[F64, F64, F64], runs: list[tuple[F64, F64, Box]]) -> Scene:
    t0 = k.timestamp_us * 1e-6
    times, xy, yaw = motion
    ego = _track(EGO_ID, times, xy, yaw, t0, EGO_SIZE_M, "vehicle")
    if ego is None:
        raise InputError(f"ego pose is missing at the keyframe: {k.token!r}")
    tracks = {EGO_ID: ego}
    for n, (its_times, poses, box) in enumerate(runs, start=1):
        made = _track(n, its_times, poses[:, :2], poses[:, 2], t0, box.size_m, box.kind or "vehicle")
        if made is not None:
            tracks[n] = made
    pictures: dict[str, Picture] = dict(k.pictures)
    cameras = ordered(pictures, f"{name} {k.token}", CHANNELS)
    moment = Ego(EGO_ID, HISTORY_STEPS, f"{k.index:03d}", cameras, stamp_ns=k.timestamp_us * 1000)
    return Scene(name, "nuscenes", (), tracks, DT_S, moment)


def _track(number: int, times: F64, xy: F64, yaw: F64, t0: float, size_m: tuple[float, float], kind: RoadUser) -> Track | None:
    """The part of a motion within 2 s before and 5 s after t0, on steps of 0.1 s; None where it has no step there."""
    steps = np.arange(-HISTORY_STEPS, FUTURE_STEPS + 1)
    at = t0 + steps * DT_S
    inside = (at >= times[0] - 1e-4) & (at <= times[-1] + 1e-4) if len(times) else np.zeros(len(at), bool)
    if not inside.any():
        return None
    where, heading = poses_at(times, xy, yaw, at[inside])
    return track(number, int(steps[inside][0]) + HISTORY_STEPS, where, heading, size_m, kind)
