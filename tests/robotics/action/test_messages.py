"""Messages: hashes as ROS publishes them, CDR byte for byte, JSON as rosbridge has it, and what is refused."""

from __future__ import annotations

import json
import math
import os
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("rosbags")

from rosbags.interfaces import Nodetype

from edge.core.errors import InputError, UnknownNameError
from robotics.action import messages, standard
from robotics.action.interfaces import _register, dds_name, fields, rihs01, types
from robotics.action.messages import NUMBERS

HOSTILE = 500 if os.environ.get("EDGE_CASES") == "small" else 10_000
PUBLISHED = {
    "std_msgs/msg/String": "df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18",
    "nav_msgs/msg/Odometry": "3cc97dc7fb7502f8714462c526d369e35b603cfc34d946e3f2eda2766dfec6e0",
    "action_msgs/msg/GoalStatusArray": "6c1684b00f177d37438febe6e709fc4e2b0d4248dca4854946f9ed8b30cda83e",
    "action_msgs/srv/CancelGoal": "573d8b0a534451d7bc2ac8c5ffde8ac14b8593b7001175d0cd6516dcbeb8689a",
    "service_msgs/msg/ServiceEventInfo": "41bcbbe07a75c9b52bc96bfd5c24d7f0fc0a08c0cb7921b3373c5732345a6f45",
}
"""Of the type descriptions that ROS 2 installs."""
FIBONACCI = {
    "": "9508051da1ea4658de144b09bd0690ff3de52104683d847aed764d2915906f51",
    "_Goal": "226cb437e4355dcd3e914f930382a3b0cc1da81545bd319ed554e95a03255f51",
    "_SendGoal": "d1a57fb2a4afe8c21e34fb10db206f16ce6729b28531141472df92277c55b557",
    "_SendGoal_Event": "d5e5b312dbf847307b0e876c2ecc9d80258e95b0d17f8f7bfc581c4a29c83484",
    "_GetResult": "1b0de0d5d29dc955d92f546706568428632771db13ec84c15ec1c1a59f424a57",
    "_GetResult_Response": "6021dc98ab9b4bbe395e48aa4de81ee5f68eb570f88358affcc648146668b24f",
    "_FeedbackMessage": "c1de71afd52e49a89c53d8262366884185bc0a02f78ce051c4e46b0a7fe59bb2",
}
OURS = [
    "edge_msgs/action/Act_FeedbackMessage",
    "edge_msgs/action/Plan_Result",
    "control_msgs/action/FollowJointTrajectory_Goal",
    "control_msgs/action/FollowJointTrajectory_Feedback",
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/CompressedImage",
    "sensor_msgs/msg/JointState",
    "nav_msgs/msg/Odometry",
    "nav_msgs/msg/Path",
    "action_msgs/msg/GoalStatusArray",
    "std_srvs/srv/Trigger_Request",
    "std_msgs/msg/Bool",
]


@pytest.fixture(scope="module", autouse=True)
def fibonacci() -> None:
    if "example_interfaces/action/Fibonacci" not in types().fielddefs:
        _register(types(), "example_interfaces/action/Fibonacci", "int32 order\n---\nint32[] sequence\n---\nint32[] sequence\n")
        _register(types(), "example_interfaces/srv/AddTwoInts", "int64 a\nint64 b\n---\nint64 sum\n")


def test_hashes_are_those_that_ros_publishes() -> None:
    for name, wanted in PUBLISHED.items():
        assert rihs01(name) == f"RIHS01_{wanted}", name
    for suffix, wanted in FIBONACCI.items():
        assert rihs01(f"example_interfaces/action/Fibonacci{suffix}") == f"RIHS01_{wanted}", suffix
    added = "e118de6bf5eeb66a2491b5bda11202e7b68f198d6f67922cf30364858239c81a"
    assert rihs01("example_interfaces/srv/AddTwoInts") == f"RIHS01_{added}"
    with pytest.raises(UnknownNameError, match="std_msgs/msg/Strong"):
        rihs01("std_msgs/msg/Strong")


def test_names_of_middlewares() -> None:
    assert dds_name("edge_msgs/action/Act_SendGoal") == "edge_msgs::action::dds_::Act_SendGoal_"


def test_cdr_byte_for_byte() -> None:
    """By hand: little endian, members aligned to their size, a text with its length and a zero byte."""
    assert messages.pack({"data": "hi"}, "std_msgs/msg/String") == b"\x00\x01\x00\x00" + b"\x03\x00\x00\x00hi\x00"
    goal = messages.empty("edge_msgs/action/Act_Goal") | {"task": "go", "max_steps": 7, "seed": 1}
    packed = b"\x00\x01\x00\x00" + b"\x03\x00\x00\x00go\x00" + b"\x00" + b"\x07\x00\x00\x00" + b"\x00" * 4 + b"\x01" + b"\x00" * 7
    assert messages.pack(goal, "edge_msgs/action/Act_Goal") == packed
    assert messages.unpack(packed, "edge_msgs/action/Act_Goal") == goal
    big = b"\x00\x00\x00\x00" + b"\x00\x00\x00\x03hi\x00"
    assert messages.unpack(big, "std_msgs/msg/String") == {"data": "hi"}
    assert len(messages.pack({}, "std_srvs/srv/Trigger_Request")) == 5


def values(desc: Any) -> st.SearchStrategy[Any]:
    """Of a field, as JSON."""
    kind, rest = desc
    if kind == Nodetype.NAME:
        return objects(rest)
    if kind == Nodetype.BASE:
        return scalars(rest[0])
    inner, count = rest
    least, most = (count, count) if kind == Nodetype.ARRAY else (0, count or 3)
    return st.lists(values(inner), min_size=least, max_size=most)


def scalars(base: str) -> st.SearchStrategy[Any]:
    if base == "string":
        return st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
    if base == "bool":
        return st.booleans()
    if base.startswith("float"):
        return st.floats(allow_nan=False, allow_infinity=False, width=int(base[5:]))
    info = np.iinfo(NUMBERS[base])
    return st.integers(int(info.min), int(info.max))


def objects(name: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({n: values(d) for n, d in fields(name)})


@pytest.mark.parametrize("name", OURS)
def test_json_and_cdr_and_back(name: str) -> None:
    @settings(max_examples=30, deadline=None)
    @given(objects(name))
    def check(told: dict[str, Any]) -> None:
        message = messages.read(told, name)
        packed = messages.pack(message, name)
        again = messages.unpack(packed, name)
        assert messages.pack(again, name) == packed
        shown = messages.show(again, name)
        assert shown == messages.show(message, name)
        assert messages.pack(messages.read(json.loads(json.dumps(shown, allow_nan=False)), name), name) == packed

    check()


def test_what_is_left_out_is_zero() -> None:
    assert messages.pack(messages.read({}, "nav_msgs/msg/Odometry"), "nav_msgs/msg/Odometry") == messages.pack(
        messages.empty("nav_msgs/msg/Odometry"), "nav_msgs/msg/Odometry"
    )
    shown = messages.show(messages.read({"position": [1, None, 2.5]}, standard.STATE), standard.STATE)
    assert shown["position"] == [1.0, None, 2.5]  # rosbridge writes what is not finite as null
    assert math.isnan(messages.read({"range": None}, "sensor_msgs/msg/Range")["range"])


@pytest.mark.parametrize(
    ("name", "told", "said"),
    [
        ("edge_msgs/action/Act_Goal", [], "must be an object"),
        (
            "edge_msgs/action/Act_Goal",
            {"max_step": 1},
            "max_step: edge_msgs/action/Act_Goal has no such field; it has task, max_steps",
        ),
        ("edge_msgs/action/Act_Goal", {"max_steps": -1}, "max_steps: must be a whole number from 0 to 4294967295: got int -1"),
        ("edge_msgs/action/Act_Goal", {"max_steps": 1.0}, "max_steps: must be a whole number"),
        ("edge_msgs/action/Act_Goal", {"max_steps": True}, "max_steps: must be a whole number"),
        ("edge_msgs/action/Act_Goal", {"task": "\ud800"}, "task: must be a text"),
        ("edge_msgs/action/Plan_Goal", {"deadline_ms": "soon"}, "deadline_ms: must be a number"),
        ("edge_msgs/action/Plan_Goal", {"deadline_ms": 10**400}, "deadline_ms: must be a number that a float64 can hold"),
        ("edge_msgs/action/Act_Feedback", {"latency_ms": 1e39}, "latency_ms: must be a number that a float32 can hold"),
        (standard.STATE, {"position": [0.5, 10**400]}, "position[1]: must be a number that a float64 can hold"),
        ("std_msgs/msg/Bool", {"data": 1}, "data: must be true or false"),
        (standard.IMAGE, {"data": "=!"}, "data: must be base64"),
        (standard.IMAGE, {"data": [256]}, "data[0]: must be a whole number from 0 to 255"),
        (standard.IMAGE, {"header": {"stamp": {"sec": 1 << 31}}}, "header.stamp.sec: must be a whole number"),
        (standard.STATE, {"position": [1, "x"]}, "position[1]: must be a number"),
        (standard.STATE, {"name": ["a", 3]}, "name[1]: must be a text"),
        (standard.STATE, {"name": "ab"}, "name: must be a list"),
        (standard.ODOMETRY, {"pose": {"covariance": [0.0] * 35}}, "pose.covariance: must have 36 elements: got 35"),
        (
            standard.PATH,
            {"poses": [{}, {"pose": {"position": {"w": 1}}}]},
            "poses[1].pose.position.w: geometry_msgs/msg/Point has no",
        ),
    ],
)
def test_what_is_no_message_is_told_in_a_line(name: str, told: Any, said: str) -> None:
    with pytest.raises(InputError) as e:
        messages.read(told, name)
    assert said in str(e.value)
    assert "\n" not in str(e.value)


def test_hostile_cdr() -> None:
    rng = random.Random(0)
    for n in range(HOSTILE):
        name = OURS[n % len(OURS)]
        frame = bytearray(messages.pack(messages.empty(name), name))
        for _ in range(rng.randrange(1, 6)):
            frame[rng.randrange(len(frame))] = rng.choice([0, 1, 127, 255, rng.randrange(256)])
        cut = bytes(frame[: rng.randrange(len(frame) + 1)]) if n % 2 else bytes(frame) + rng.randbytes(rng.randrange(8))
        said = ""
        try:
            found = messages.unpack(cut, name)
        except InputError as e:
            said = str(e)
        else:
            json.dumps(messages.show(found, name), allow_nan=False)
        assert "\n" not in said


def test_pictures_that_are_none() -> None:
    good = standard.image(np.zeros((4, 6, 3), np.uint8), 0)
    for broken, said in (
        ({"encoding": "16UC1"}, "encoding is not known"),
        ({"height": 5}, "broken"),
        ({"step": 3}, "broken"),
        ({"width": 0, "step": 0}, "broken"),
        ({"width": 1 << 31}, "at most 4096"),
    ):
        with pytest.raises(InputError, match=said):
            standard.picture(good | broken)
    with pytest.raises(InputError, match="cannot be decoded"):
        standard.picture({"format": "jpeg", "data": np.frombuffer(b"\xff\xd8\xff" + bytes(20), np.uint8), "header": good["header"]})


def test_a_compressed_picture() -> None:
    import io

    from PIL import Image

    picture = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    message = {"format": "png", "data": np.frombuffer(out.getvalue(), np.uint8), "header": standard.header(1)}
    assert np.array_equal(standard.picture(message), picture)


def test_poses_there_and_back() -> None:
    for yaw in np.linspace(-3.1, 3.1, 7):
        x, y, turned = standard.pose_of(standard.odometry(1.5, -2.5, float(yaw), 3.0, 0.1, 7))
        assert (x, y) == (1.5, -2.5)
        assert turned == pytest.approx(yaw, abs=1e-15)
