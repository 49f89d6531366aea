"""What can be said of the rclpy node where there is no ROS 2: messages there and back, and one clear line."""

from __future__ import annotations

import array
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags")

from rosbags.interfaces import Nodetype

from edge.cli.main import run
from robotics.action import messages, standard
from robotics.action.interfaces import fields
from robotics.action.messages import NUMBERS
from robotics.action.ros.node import from_ros, to_ros

CODES = {"f": {4: "f", 8: "d"}, "u": {1: "B", 2: "H", 4: "I", 8: "Q"}, "i": {1: "b", 2: "h", 4: "i", 8: "q"}}


def empty(kind: str) -> Any:
    """As rclpy has messages: attributes, arrays of `array` for numbers without a fixed count, of NumPy with one."""
    return SimpleNamespace(**{name: _empty(desc) for name, desc in fields(kind)})


def _empty(desc: Any) -> Any:
    kind, rest = desc
    if kind == Nodetype.NAME:
        return empty(rest)
    if kind == Nodetype.BASE:
        return {"string": "", "bool": False}.get(rest[0], 0)
    inner, count = rest
    if inner[0] == Nodetype.BASE and inner[1][0] in NUMBERS:
        dtype = NUMBERS[inner[1][0]]
        return np.zeros(count, dtype) if kind == Nodetype.ARRAY else array.array(CODES[dtype.kind][dtype.itemsize])
    return []


@pytest.mark.parametrize("kind", [standard.IMAGE, standard.STATE, standard.ODOMETRY, "edge_msgs/action/Act_Result"])
def test_messages_there_and_back(kind: str) -> None:
    rng = np.random.default_rng(0)
    made = {
        standard.IMAGE: standard.image(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8), 7, "camera"),
        standard.STATE: standard.joint_state(rng.normal(size=5), 3, ["a", "b"]),
        standard.ODOMETRY: standard.odometry(1.0, 2.0, 0.3, 4.0, 0.1, 9),
        "edge_msgs/action/Act_Result": {"success": True, "steps": 3, "message": "done"},
    }[kind]
    into = to_ros(made, kind, empty(kind))
    assert messages.pack(from_ros(into, kind), kind) == messages.pack(made, kind)
    if kind == standard.IMAGE:
        assert isinstance(into.data, array.array)
        assert into.header.frame_id == "camera"


def test_without_ros_a_line_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        import rclpy  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        assert run(["act", "serve", "--transport", "rclpy"]) == 2
        assert "ROS 2 is not sourced here" in capsys.readouterr().err
    else:
        pytest.skip("ROS 2 IS SOURCED: start the node instead")
