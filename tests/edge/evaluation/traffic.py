"""A small file in the form of recorded traffic, of simulated scenes: the names say which site they play."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from robotics.driving.scene import Scene
from robotics.driving.simulate import simulate


def write_traffic(path: Path, scenes: dict[str, tuple[str, Scene]]) -> Path:
    """scenes: name -> split, scene."""
    content: dict[str, np.ndarray] = {"names": np.array(list(scenes)), "split": np.array([s for s, _ in scenes.values()])}
    for name, (_, scene) in scenes.items():
        tracks = list(scene.tracks.values())
        content[f"{name}/lane_pts"] = np.concatenate([b for lane in scene.lanes for b in lane])
        content[f"{name}/lane_len"] = np.array([[len(left), len(right)] for left, right in scene.lanes], np.int16)
        content[f"{name}/state"] = np.concatenate([np.column_stack([t.xy, t.yaw, t.speed]) for t in tracks])
        steps = [np.column_stack([np.full(len(t), k), np.arange(t.first, t.first + len(t))]) for k, t in enumerate(tracks)]
        content[f"{name}/idx"] = np.concatenate(steps).astype(np.int16)
        content[f"{name}/dims"] = np.array([(t.length_m, t.width_m) for t in tracks], np.float32)
    np.savez(path, **content)  # pyright: ignore[reportArgumentType]
    return path


def simulated_traffic(path: Path) -> Path:
    """Two scenes of each site and split, 9 s long."""
    kinds = {"USA_US101": "highway", "USA_Lanker": "intersection"}
    scenes = {}
    for site, kind in kinds.items():
        for n, split in enumerate(("train", "train", "val", "val")):
            scenes[f"{site}-{n}_1_T-1"] = split, simulate(40 + n, kind, seconds=9.0)
    return write_traffic(path, scenes)
