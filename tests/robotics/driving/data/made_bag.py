"""Recordings written with rosbags' own writers: three cameras at 10 Hz and odometry at 20 Hz of an ego that brakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore

from tests.robotics.driving.data.made_wod import jpeg

T0_NS = 1_700_000_000 * 10**9
SPEED, ACCEL = 12.0, -0.8
RED = {"front_left": 50, "front": 100, "front_right": 150}
OFFSET_NS = {"front_left": 20_000_000, "front": 0, "front_right": -30_000_000}
"""Cameras that are not quite synchronous."""


def position(t: np.ndarray | float) -> np.ndarray:
    return np.asarray(SPEED * t + ACCEL * np.square(t) / 2)


def write(
    path: Path, seconds: float = 9.0, *, kind: str = "mcap", raw: bool = False, skip_odometry: tuple[float, float] = (9e9, 9e9)
) -> Path:
    """A bag of `kind` "mcap", "sqlite3" (rosbag2 folders) or "bag" (ROS 1). raw: Image instead of CompressedImage."""
    store = get_typestore(Stores.ROS1_NOETIC if kind == "bag" else Stores.ROS2_HUMBLE)
    types = store.types
    stamp = types["builtin_interfaces/msg/Time"]
    header = types["std_msgs/msg/Header"]

    def head(ns: int, frame: str):
        at = stamp(sec=ns // 10**9, nanosec=ns % 10**9)
        return header(seq=0, stamp=at, frame_id=frame) if kind == "bag" else header(stamp=at, frame_id=frame)

    def image(camera: str, ns: int):
        if not raw:
            data = np.frombuffer(jpeg((RED[camera], 0, 0)), dtype=np.uint8)
            return types["sensor_msgs/msg/CompressedImage"](header=head(ns, camera), format="jpeg", data=data)
        rows = np.zeros((48, 64 * 3 + 8), np.uint8)  # rows are padded, as drivers may do
        rows[:, 2 : 64 * 3 : 3] = RED[camera]  # bgr8: red is the third
        return types["sensor_msgs/msg/Image"](
            header=head(ns, camera), height=48, width=64, encoding="bgr8", is_bigendian=0, step=rows.shape[1], data=rows.ravel()
        )

    def odometry(t: float, ns: int):
        zero = types["geometry_msgs/msg/Vector3"](x=0.0, y=0.0, z=0.0)
        # The odometry frame is turned by 90 degrees: the ego drives along its y axis.
        pose = types["geometry_msgs/msg/Pose"](
            position=types["geometry_msgs/msg/Point"](x=5.0, y=float(position(t)), z=0.0),
            orientation=types["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=np.sin(np.pi / 4), w=np.cos(np.pi / 4)),
        )
        speed = types["geometry_msgs/msg/Vector3"](x=SPEED + ACCEL * t, y=0.0, z=0.0)
        return types["nav_msgs/msg/Odometry"](
            header=head(ns, "odom"),
            child_frame_id="base_link",
            pose=types["geometry_msgs/msg/PoseWithCovariance"](pose=pose, covariance=np.zeros(36)),
            twist=types["geometry_msgs/msg/TwistWithCovariance"](
                twist=types["geometry_msgs/msg/Twist"](linear=speed, angular=zero), covariance=np.zeros(36)
            ),
        )

    messages = []
    for n in range(round(seconds * 20) + 1):
        t, ns = n / 20, T0_NS + n * 50_000_000
        if not skip_odometry[0] < t < skip_odometry[1]:
            messages.append(("/localization/odometry", odometry(t, ns), ns))
        if n % 2 == 0:
            for camera, offset in OFFSET_NS.items():
                messages.append((f"/sensing/camera/{camera}/image", image(camera, ns + offset), ns + max(offset, 0) + 1_000_000))
    plugin = StoragePlugin.MCAP if kind == "mcap" else StoragePlugin.SQLITE3
    with Writer1(path) if kind == "bag" else Writer2(path, version=9, storage_plugin=plugin) as writer:
        connections = {}
        for topic, message, ns in sorted(messages, key=lambda m: m[2]):
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, message.__msgtype__, typestore=store)
            serialize = store.serialize_ros1 if kind == "bag" else store.serialize_cdr
            writer.write(connections[topic], ns, serialize(message, message.__msgtype__))
    return path
