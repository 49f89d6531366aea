"""Standard messages of ROS 2 to and from what the rest of the house works with."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from edge.core.errors import InputError
from robotics.action.messages import Message, empty
from robotics.driving.data.ros_images import pixels

BILLION = 1_000_000_000
U8 = NDArray[np.uint8]
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
ODOMETRY, STATE = "nav_msgs/msg/Odometry", "sensor_msgs/msg/JointState"
TRAJECTORY, POINT = "trajectory_msgs/msg/JointTrajectory", "trajectory_msgs/msg/JointTrajectoryPoint"
PATH, POSE = "nav_msgs/msg/Path", "geometry_msgs/msg/PoseStamped"
TEXT, FLAG = "std_msgs/msg/String", "std_msgs/msg/Bool"
LARGEST = 4096
"""Pixels of a picture's side."""


def time_of(ns: int) -> Message:
    """builtin_interfaces/Time, and Duration."""
    return {"sec": ns // BILLION, "nanosec": ns % BILLION}


def ns_of(time: Message) -> int:
    return time["sec"] * BILLION + time["nanosec"]


def header(stamp_ns: int, frame: str = "") -> Message:
    return {"stamp": time_of(stamp_ns), "frame_id": frame}


def stamp_of(message: Message) -> int:
    """Nanoseconds, of a message with a header."""
    return ns_of(message["header"]["stamp"])


def image(picture: U8, stamp_ns: int, frame: str = "") -> Message:
    """sensor_msgs/Image of uint8 [H, W, 3], RGB."""
    height, width = picture.shape[:2]
    data = np.ascontiguousarray(picture).reshape(-1)
    sizes = {"height": height, "width": width, "step": 3 * width, "is_bigendian": 0}
    return {"header": header(stamp_ns, frame), "encoding": "rgb8", "data": data, **sizes}


def picture(message: Message) -> U8:
    """uint8 [H, W, 3], RGB, of an Image or a CompressedImage. Raises InputError for a broken one."""
    if "format" not in message and max(message["height"], message["width"]) > LARGEST:
        raise InputError(f"picture: has {message['height']} x {message['width']} pixels; send at most {LARGEST} on a side")
    found = pixels(SimpleNamespace(**message))
    if not isinstance(found, bytes):
        return np.ascontiguousarray(found)
    try:
        with Image.open(io.BytesIO(found)) as opened:
            if max(opened.size) > LARGEST:
                raise InputError(f"picture: has {opened.size[1]} x {opened.size[0]} pixels; send at most {LARGEST} on a side")
            return np.array(opened.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as e:
        raise InputError(f"picture: cannot be decoded ({type(e).__name__}); send JPEG or PNG") from None


def joint_state(values: Sequence[float] | NDArray[Any], stamp_ns: int, names: Sequence[str] = ()) -> Message:
    """sensor_msgs/JointState; positions are whatever a policy calls its state."""
    nothing = np.zeros(0)
    return {
        "header": header(stamp_ns),
        "name": list(names),
        "position": np.asarray(values, np.float64),
        "velocity": nothing,
        "effort": nothing,
    }


def joint_trajectory(rows: NDArray[Any], stamp_ns: int, step_ns: int, names: Sequence[str]) -> Message:
    """trajectory_msgs/JointTrajectory of positions [n, A]; the first one is due `step_ns` after the stamp."""
    points = [
        empty(POINT) | {"positions": np.asarray(row, np.float64), "time_from_start": time_of((i + 1) * step_ns)}
        for i, row in enumerate(rows)
    ]
    return {"header": header(stamp_ns), "joint_names": list(names), "points": points}


def odometry(x: float, y: float, yaw: float, speed: float, yaw_rate: float, stamp_ns: int) -> Message:
    """nav_msgs/Odometry of a vehicle in the plane; speed along its heading."""
    out = empty(ODOMETRY) | {"header": header(stamp_ns, "odom"), "child_frame_id": "base_link"}
    out["pose"]["pose"] = _pose(x, y, yaw)
    out["twist"]["twist"]["linear"]["x"] = speed
    out["twist"]["twist"]["angular"]["z"] = yaw_rate
    return out


def pose_of(message: Message) -> tuple[float, float, float]:
    """x, y, yaw of an Odometry."""
    pose = message["pose"]["pose"]
    q, p = pose["orientation"], pose["position"]
    yaw = math.atan2(2 * (q["w"] * q["z"] + q["x"] * q["y"]), 1 - 2 * (q["y"] ** 2 + q["z"] ** 2))
    return p["x"], p["y"], yaw


def path(rows: NDArray[np.float64], stamp_ns: int, step_ns: int, frame: str = "base_link") -> Message:
    """nav_msgs/Path of poses x, y, yaw [n, 3]; each has the stamp of when it is due."""
    poses = [{"header": header(stamp_ns + i * step_ns, frame), "pose": _pose(*row)} for i, row in enumerate(rows.tolist())]
    return {"header": header(stamp_ns, frame), "poses": poses}


def _pose(x: float, y: float, yaw: float) -> Message:
    turned = {"x": 0.0, "y": 0.0, "z": math.sin(yaw / 2), "w": math.cos(yaw / 2)}
    return {"position": {"x": x, "y": y, "z": 0.0}, "orientation": turned}
