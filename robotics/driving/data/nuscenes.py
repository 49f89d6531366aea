"""nuScenes from its JSON tables: keyframes at 2 Hz with cameras, boxes and ego poses, and each of them as a scene.

Frames of reference. The ego frame of the set is the planner's own (x forward, y left, origin on the ground below the rear axle).
The LiDAR frame, in which UniAD and VAD state their trajectories, has x to the right and y forward, and its origin on the roof; its
trajectory is that of the LiDAR. Poses are taken in the ground plane: x, y and heading.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from edge.core.errors import InputError, UnknownNameError
from robotics.driving.damage import Damage
from robotics.driving.data.motion import DT_S, F64, poses_at, track
from robotics.driving.data.nuscenes_tables import Row, read_tables
from robotics.driving.data.pictures import Picture, ordered
from robotics.driving.scene import FUTURE_STEPS, HISTORY_STEPS, Ego, RoadUser, Scene, Track, to_ego

CHANNELS = ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT")
LIDAR = "LIDAR_TOP"
EGO_SIZE_M = (4.084, 1.85)
"""Length and width of the recording vehicle, as the planning benchmarks take them (UniAD)."""
EGO_ID = 0
GAP_S = 0.8
"""Boxes of one object further apart in time are not joined: keyframes are 0.5 s apart."""

_KINDS: tuple[tuple[str, RoadUser | None], ...] = (
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
class Keyframe:
    """One sample. ego: pose in the global frame at the LiDAR's time; lidar: pose of the LiDAR in the ego frame.

    pictures: files by channel.
    """

    token: str
    index: int
    timestamp_us: int
    ego: Pose
    lidar: Pose
    pictures: Mapping[str, Path]
    boxes: tuple[Box, ...]


class NuScenes:
    """One version of the set. Opening reads all tables; pictures are read when they are looked at."""

    def __init__(self, root: str | Path, version: str | None = None) -> None:
        """Raises InputError naming a table that is missing or unreadable."""
        self.root = Path(root)
        self.tables = read_tables(self.root, version)
        self.damaged = self.tables.damaged

    def names(self) -> tuple[str, ...]:
        """Names of the scenes ("scene-0061", ...)."""
        return tuple(self._scenes)

    def keyframes(self, name: str) -> list[Keyframe | Damage]:
        """The keyframes of a scene in order, with a Damage for each that cannot be put together.

        Raises UnknownNameError for a scene that the set does not have.
        """
        if name not in self._scenes:
            raise UnknownNameError("scene", name, self._scenes)
        out: list[Keyframe | Damage] = []
        token, asker, seen = self._scenes[name]["first_sample_token"], f"scene {name}", set()
        while token:
            try:
                if token in seen:
                    raise InputError(f"samples form a circle: {token!r} comes again after {asker}")
                seen.add(token)
                sample = self.tables.get("sample", token, asker)
            except InputError as e:
                out.append(Damage(f"{name} after keyframe {len(out) - 1}", str(e)))
                break
            try:
                out.append(self._keyframe(sample, len(out)))
            except InputError as e:
                out.append(Damage(f"{name} keyframe {len(out)} ({token})", str(e)))
            token, asker = sample["next"], f"sample {token}"
        return out

    def scenes(self, name: str, stride_keyframes: int = 1) -> Iterator[Scene | Damage]:
        """Every keyframe of a scene as a planning scene at 10 Hz with its own pictures and the boxes around it."""
        found = self.keyframes(name)
        whole = [k for k in found if isinstance(k, Keyframe)]
        motion, boxes = self._ego_motion(name), _runs(whole)
        for item in found:
            if isinstance(item, Damage):
                yield item
            elif item.index % stride_keyframes == 0:
                try:
                    yield _scene(name, item, motion, boxes)
                except InputError as e:
                    yield Damage(f"{name} keyframe {item.index} ({item.token})", str(e))

    # --- putting rows together ----------------------------------------------------------------------------------------------

    @cached_property
    def _scenes(self) -> dict[str, Row]:
        return {r["name"]: r for r in self.tables.rows["scene"].values()}

    @cached_property
    def _data(self) -> dict[str, dict[str, Row]]:
        """Sample token -> channel -> row of sample_data, keyframes alone."""
        out: dict[str, dict[str, Row]] = defaultdict(dict)
        for row in self.tables.rows["sample_data"].values():
            channel = self._channel(row)
            if row["is_key_frame"] and channel is not None:
                out[row["sample_token"]][channel] = row
        return out

    @cached_property
    def _annotations(self) -> dict[str, list[Row]]:
        out: dict[str, list[Row]] = defaultdict(list)
        for row in self.tables.rows["sample_annotation"].values():
            out[row["sample_token"]].append(row)
        return out

    @cached_property
    def _sweeps(self) -> dict[str, list[tuple[int, Pose]]]:
        """Scene token -> (time us, pose) of every LiDAR sweep whose rows are whole, in order of time."""
        out: dict[str, list[tuple[int, Pose]]] = defaultdict(list)
        for row in self.tables.rows["sample_data"].values():
            sample = self.tables.rows["sample"].get(row["sample_token"])
            pose = self.tables.rows["ego_pose"].get(row["ego_pose_token"])
            if sample and pose and self._channel(row) == LIDAR:
                out[sample["scene_token"]].append((row["timestamp"], planar(pose)))
        return {k: sorted(v) for k, v in out.items()}

    def _channel(self, row: Row) -> str | None:
        sensor = self.tables.rows["calibrated_sensor"].get(row["calibrated_sensor_token"])
        found = sensor and self.tables.rows["sensor"].get(sensor["sensor_token"])
        return found["channel"] if found else None

    def _keyframe(self, sample: Row, index: int) -> Keyframe:
        token = sample["token"]
        data = self._data.get(token, {})
        missing = [c for c in (LIDAR, *CHANNELS) if c not in data]
        if missing:
            raise InputError(f"sample has no data of a sensor: {', '.join(missing)} (sample {token!r})")
        lidar = data[LIDAR]
        asker = f"sample_data {lidar['token']!r}"
        ego = self.tables.get("ego_pose", lidar["ego_pose_token"], asker)
        mount = self.tables.get("calibrated_sensor", lidar["calibrated_sensor_token"], asker)
        return Keyframe(
            token=token,
            index=index,
            timestamp_us=lidar["timestamp"],
            ego=planar(ego),
            lidar=planar(mount),
            pictures={c: self.root / data[c]["filename"] for c in data if c.startswith("CAM_")},
            boxes=tuple(self._box(row) for row in self._annotations.get(token, ())),
        )

    def _box(self, row: Row) -> Box:
        asker = f"sample_annotation {row['token']!r}"
        instance = self.tables.get("instance", row["instance_token"], asker)
        category = self.tables.get("category", instance["category_token"], f"instance {row['instance_token']!r}")["name"]
        attributes = {self.tables.get("attribute", t, asker)["name"] for t in row["attribute_tokens"]}
        kind: RoadUser | None = next(k for start, k in _KINDS if category.startswith(start))
        if "cycle.without_rider" in attributes:
            kind = None
        width, length, _ = row["size"]
        return Box(row["instance_token"], category, kind, planar(row), (float(length), float(width)))

    def _ego_motion(self, name: str) -> tuple[F64, F64, F64]:
        """Times s [N], positions [N, 2] and headings [N] of the ego in a scene, global frame."""
        sweeps = self._sweeps.get(self._scenes[name]["token"], [])
        times = np.array([t for t, _ in sweeps], dtype=np.float64) * 1e-6
        poses = np.array([p for _, p in sweeps], dtype=np.float64).reshape(-1, 3)
        return times, poses[:, :2], poses[:, 2]


@lru_cache(maxsize=1)
def opened(root: str, version: str | None = None) -> NuScenes:
    """`NuScenes(root, version)`, kept for the next scene of the same process: the tables of the whole set take minutes to read."""
    return NuScenes(root, version)


def planar(row: Row) -> Pose:
    """x, y and heading of a row with `translation` and the quaternion `rotation`."""
    w, x, y, z = row["rotation"]
    return (
        float(row["translation"][0]),
        float(row["translation"][1]),
        float(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))),
    )


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


# --- scenes -----------------------------------------------------------------------------------------------------------------


def _runs(keyframes: list[Keyframe]) -> list[tuple[F64, F64, Box]]:
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


def _scene(name: str, k: Keyframe, motion: tuple[F64, F64, F64], runs: list[tuple[F64, F64, Box]]) -> Scene:
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
