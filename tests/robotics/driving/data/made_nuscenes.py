"""A nuScenes folder written here, in the official layout: one scene, an ego on a left bend, a car, a walker, a cone, pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.robotics.driving.data.made_wod import jpeg

T0_US = 1_532_402_927_000_000
SPEED, RATE = 8.0, 0.1
"""Of the ego: m/s along a circle, rad/s to the left."""
START_YAW = 0.7
LIDAR_MOUNT = (0.94, 0.0, -np.pi / 2)
"""x, y, yaw of the LiDAR in the ego frame: its x axis points to the right."""
INTRINSIC = [[50.0, 0, 32], [0, 50, 24], [0, 0, 1]]
CAR_AHEAD_M = 15.0

Rows = dict[str, list[dict]]


def ego_pose(t: float) -> tuple[float, float, float]:
    """Global pose at time t s."""
    yaw, r = START_YAW + RATE * t, SPEED / RATE
    return 100 + r * (np.sin(yaw) - np.sin(START_YAW)), 200 + r * (np.cos(START_YAW) - np.cos(yaw)), yaw


def quaternion(yaw: float) -> list[float]:
    return [float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2))]


def tables(keyframes: int = 20) -> Rows:
    """All tables, rows complete as the official ones. LiDAR sweeps at 20 Hz, keyframes at 2 Hz."""
    out: Rows = {k: [] for k in ("sample", "sample_data", "ego_pose", "sample_annotation")}
    out["log"] = [{"token": "log0", "logfile": "n015", "vehicle": "n015", "date_captured": "2018-07-24", "location": "here"}]
    out["map"] = [{"token": "map0", "log_tokens": ["log0"], "category": "semantic_prior", "filename": "maps/a.png"}]
    out["visibility"] = [{"token": "4", "level": "v80-100", "description": ""}]
    out["attribute"] = [{"token": "att-still", "name": "vehicle.stopped", "description": ""}]
    out["scene"] = [
        {"token": "sc0", "log_token": "log0", "nbr_samples": keyframes, "first_sample_token": "s0", "name": "scene-0001",
         "last_sample_token": f"s{keyframes - 1}", "description": "made"}
    ]  # fmt: skip
    channels = ("LIDAR_TOP", "CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_BACK")
    out["sensor"] = [{"token": f"sensor-{c}", "channel": c, "modality": "lidar" if "LIDAR" in c else "camera"} for c in channels]
    out["calibrated_sensor"] = [
        {"token": f"cal-{c}", "sensor_token": f"sensor-{c}", "translation": [LIDAR_MOUNT[0], LIDAR_MOUNT[1], 1.8],
         "rotation": quaternion(LIDAR_MOUNT[2]), "camera_intrinsic": [] if "LIDAR" in c else INTRINSIC}
        for c in channels
    ]  # fmt: skip
    names = {"car": "vehicle.car", "walker": "human.pedestrian.adult", "cone": "movable_object.trafficcone"}
    names["rack"] = "static_object.bicycle_rack"
    out["category"] = [{"token": f"cat-{k}", "name": v, "description": ""} for k, v in names.items()]
    out["instance"] = [{"token": k, "category_token": f"cat-{k}", "nbr_annotations": keyframes} for k in names]
    for n in range((keyframes - 1) * 10 + 1):
        _moment(out, n, channels, keyframes, list(names))
    return out


def _moment(out: Rows, n: int, channels: tuple[str, ...], keyframes: int, objects: list[str]) -> None:
    """Sweep n of the LiDAR, at every tenth a keyframe with all that belongs to it."""
    t, k, key = n * 0.05, n // 10, n % 10 == 0
    x, y, yaw = ego_pose(t)
    for c in channels if key else ("LIDAR_TOP",):
        token = f"{c}-{n}"
        stamp = T0_US + round(t * 1e6)
        out["ego_pose"].append(
            {"token": f"pose-{token}", "timestamp": stamp, "rotation": quaternion(yaw), "translation": [x, y, 0.0]}
        )
        end = "pcd.bin" if c == "LIDAR_TOP" else "jpg"
        out["sample_data"].append(
            {"token": token, "sample_token": f"s{k}", "ego_pose_token": f"pose-{token}", "calibrated_sensor_token": f"cal-{c}",
             "timestamp": stamp, "fileformat": "jpg", "is_key_frame": key, "height": 48, "width": 64,
             "filename": f"{'samples' if key else 'sweeps'}/{c}/{n}.{end}", "prev": "", "next": ""}
        )  # fmt: skip
    if not key:
        return
    following = f"s{k + 1}" if k + 1 < keyframes else ""
    out["sample"].append(
        {
            "token": f"s{k}",
            "timestamp": T0_US + round(t * 1e6),
            "prev": f"s{k - 1}" if k else "",
            "next": following,
            "scene_token": "sc0",
        }
    )
    places = {"car": (CAR_AHEAD_M, 0.0), "walker": (10.0, 5.0), "cone": (8.0, -3.0), "rack": (5.0, 5.0)}
    for name in objects:
        ahead, left = places[name]
        at = [x + ahead * np.cos(yaw) - left * np.sin(yaw), y + ahead * np.sin(yaw) + left * np.cos(yaw), 0.9]
        out["sample_annotation"].append(
            {"token": f"ann-{name}-{k}", "sample_token": f"s{k}", "instance_token": name, "visibility_token": "4",
             "attribute_tokens": ["att-still"] if name == "car" else [], "translation": at, "size": [1.9, 4.6, 1.7],
             "rotation": quaternion(yaw), "prev": "", "next": "", "num_lidar_pts": 9, "num_radar_pts": 1}
        )  # fmt: skip


def write(root: Path, rows: Rows | None = None, version: str = "v1.0-mini") -> Path:
    """The folder: tables and keyframe pictures, whose red says which camera took them."""
    rows = rows if rows is not None else tables()
    (root / version).mkdir(parents=True)
    for name, content in rows.items():
        (root / version / f"{name}.json").write_text(json.dumps(content, indent=0))
    (root / "maps").mkdir(exist_ok=True)
    Image.new("L", (8, 8)).save(root / "maps" / "a.png")
    red = {"CAM_FRONT_LEFT": 50, "CAM_FRONT": 100, "CAM_FRONT_RIGHT": 150, "CAM_BACK": 200}
    for row in rows["sample_data"]:
        channel = row.get("filename", "none/none").split("/")[1]
        if channel in red:
            (root / row["filename"]).parent.mkdir(parents=True, exist_ok=True)
            (root / row["filename"]).write_bytes(jpeg((red[channel], 0, 0)))
    return root
