"""nuScenes from its JSON tables: rows put together to keyframes at 2 Hz, and each of them as a scene."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from edge.core.errors import InputError, UnknownNameError
from robotics.driving.damage import Damage
from robotics.driving.data.motion import F64
from robotics.driving.data.nuscenes_keyframes import KINDS, Box, Camera, Keyframe, Pose, planar, spatial
from robotics.driving.data.nuscenes_scenes import CHANNELS, runs, scene
from robotics.driving.data.nuscenes_tables import Row, read_tables
from robotics.driving.scene import RoadUser, Scene

LIDAR = "LIDAR_TOP"


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
        motion, boxes = self._ego_motion(name), runs(whole)
        for item in found:
            if isinstance(item, Damage):
                yield item
            elif item.index % stride_keyframes == 0:
                try:
                    yield scene(name, item, motion, boxes)
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
            cameras={c: self._camera(row) for c, row in data.items() if c.startswith("CAM_")},
            boxes=tuple(self._box(row) for row in self._annotations.get(token, ())),
        )

    def _camera(self, row: Row) -> Camera:
        asker = f"sample_data {row['token']!r}"
        found = self.tables.get("calibrated_sensor", row["calibrated_sensor_token"], asker)
        try:
            intrinsic = np.array(found["camera_intrinsic"], dtype=np.float64).reshape(3, 3)
        except (ValueError, TypeError):
            raise InputError(f"camera intrinsic is not 3 by 3 numbers: calibrated_sensor {found['token']!r}") from None
        return Camera(intrinsic, spatial(found))

    def _box(self, row: Row) -> Box:
        asker = f"sample_annotation {row['token']!r}"
        instance = self.tables.get("instance", row["instance_token"], asker)
        category = self.tables.get("category", instance["category_token"], f"instance {row['instance_token']!r}")["name"]
        attributes = {self.tables.get("attribute", t, asker)["name"] for t in row["attribute_tokens"]}
        kind: RoadUser | None = next(k for start, k in KINDS if category.startswith(start))
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
