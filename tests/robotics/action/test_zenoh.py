"""ROS 2 over Zenoh: dora-rs as a client (a node in Rust that knows nothing of ours), keys and attachments, hostile frames."""

from __future__ import annotations

import json
import os
import random
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("zenoh")

import zenoh

from edge.core.errors import InputError
from robotics.action import messages, standard
from robotics.action.executive import Executive
from robotics.action.goals import Status
from robotics.action.jobs.follow import KIND, Follow
from robotics.action.topics import Board
from robotics.action.zenoh.server import ZenohServer, configured
from robotics.action.zenoh.wire import Attachment, Node, Qos, data_key
from tests.robotics.action import ament
from tests.robotics.action.rig import ACT, Counting, until

SEND, RESULT = f"{ACT}_SendGoal", f"{ACT}_GetResult"
PROFILES = {"jazzy": "rep2016", "humble": "humble"}
HOSTILE = 300 if os.environ.get("EDGE_CASES") == "small" else 10_000


class Rig:
    """A node with the action `/count`, and an arm."""

    def __init__(self, distribution: str = "jazzy", **options: Any) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.endpoint = f"tcp/127.0.0.1:{free.getsockname()[1]}"
        self.distribution, self._options = distribution, options
        self.board = Board()
        self.start()

    def start(self) -> None:
        self.executive = Executive("/count", Counting(), self.board)
        self.arm = Executive("/arm/follow_joint_trajectory", Follow(["a", "b"], self.board, name="/arm"), self.board)
        self.server = ZenohServer([self.executive, self.arm], self.board, distribution=self.distribution, **self._options)  # type: ignore[arg-type]
        self.server.start(configured(self.endpoint))

    def stop(self) -> None:
        self.server.stop()
        self.executive.close()
        self.arm.close()

    def statuses(self) -> list[Status]:
        return [s for _, _, s in self.executive.statuses()]


@contextmanager
def serving(distribution: str = "jazzy", **options: Any) -> Iterator[Rig]:
    rig = Rig(distribution, **options)
    try:
        yield rig
    finally:
        rig.stop()


@pytest.fixture
def rig() -> Iterator[Rig]:
    with serving() as rig:
        yield rig


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ament.write(tmp_path_factory.mktemp("ament"))


class Peer:
    """A node of dora-rs in a process of its own."""

    def __init__(self, rig: Rig, prefix: Path) -> None:
        pytest.importorskip("dora")
        config = prefix / f"{rig.endpoint.rsplit(':', 1)[1]}.json5"
        config.write_text(f'{{mode:"client",connect:{{endpoints:["{rig.endpoint}"]}},scouting:{{multicast:{{enabled:false}}}}}}')
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("dora_peer.py"), prefix, config, PROFILES[rig.distribution]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"AMENT_PREFIX_PATH": str(prefix)},
        )
        assert self._hear() == "ready"

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(10)

    def __call__(self, do: str, **more: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do} | more) + "\n")
        self._process.stdin.flush()
        return self._hear()

    def count(self, steps: int, task: str = "") -> str | None:
        return self("send", action="/count", type=ACT, goal={"task": task, "max_steps": steps, "seed": 0})

    def _hear(self) -> Any:
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.readline() or '{"error": "the peer died"}')
        if "error" in told:
            raise RuntimeError(told["error"])
        return told["found"]


# --- dora -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("distribution", PROFILES)
def test_dora_sends_goals(distribution: str, prefix: Path) -> None:
    with serving(distribution) as rig, Peer(rig, prefix) as peer:
        peer("client", action="/count", type="edge_msgs/Act")
        goal = peer.count(5)
        assert [peer("feedback", action="/count", id=goal)["step"] for _ in range(5)] == [1, 2, 3, 4, 5]
        assert peer("result", action="/count", id=goal) == ["succeeded", {"success": True, "steps": 5, "message": "counted"}]
        assert peer.count(1, "refuse") is None
        goal = peer.count(3, "fail")
        assert peer("result", action="/count", id=goal) == ["aborted", {"success": False, "steps": 1, "message": "it failed"}]
        goal = peer.count(5000)
        assert peer("feedback", action="/count", id=goal)["step"] == 1
        assert peer("cancel", action="/count", id=goal) == 0
        assert until(lambda: rig.statuses()[-1].terminal and rig.statuses()[-1]) == Status.CANCELED
        goal = peer.count(5000)
        assert peer("cancel", action="/count") == 0  # all
        assert until(lambda: rig.statuses()[-1].terminal and rig.statuses()[-1]) == Status.CANCELED


def test_two_dora_clients_and_a_restart(rig, prefix) -> None:
    with Peer(rig, prefix) as a, Peer(rig, prefix) as b:
        for peer in (a, b):
            peer("client", action="/count", type="edge_msgs/Act")
        first = a.count(5000)
        assert a("feedback", action="/count", id=first)["step"] == 1
        second = b.count(4)
        assert [b("feedback", action="/count", id=second)["step"] for _ in range(4)] == [1, 2, 3, 4]
        assert b("result", action="/count", id=second)[0] == "succeeded"
        assert a("result", action="/count", id=first)[0] == "aborted"
        rig.stop()
        rig.start()
        time.sleep(1.5)  # Zenoh's own reconnecting
        goal = a.count(2)
        assert a("result", action="/count", id=goal)[0] == "succeeded"


def test_pictures_and_plans_cross(rig, prefix) -> None:
    class Watching(Counting):
        inputs, outputs = ("/image",), ("/plan",)

    rig.board.declare("/image", standard.IMAGE)
    rig.board.declare("/plan", standard.PATH)
    watching = Executive("/watch", Watching(), rig.board)
    server = ZenohServer([watching], rig.board, name="watching")
    rig.stop()
    server.start(configured(rig.endpoint))
    try:
        with Peer(rig, prefix) as peer:
            picture = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
            message = messages.show(standard.image(picture, 5_000_000_007, "camera"), standard.IMAGE)
            sent = {"topic": "/image", "type": "sensor_msgs/Image", "message": message | {"data": picture.reshape(-1).tolist()}}
            found = until(lambda: peer("publish", **sent) and rig.board.newest("/image"))
            assert np.array_equal(standard.picture(found.message), picture)
            assert standard.stamp_of(found.message) == 5_000_000_007
            peer("subscribe", topic="/plan", type="nav_msgs/Path")
            rows = np.array([[0.0, 0, 0], [1.5, 0.25, 0.1]])
            heard = None
            while heard is None:  # until discovery has found us
                rig.board.put("/plan", standard.path(rows, 1_000_000_000, 100_000_000))
                heard = peer("next", topic="/plan", wait=0.2)
            assert [p["pose"]["position"]["x"] for p in heard["poses"]] == [0.0, 1.5]
            assert heard["poses"][1]["header"]["stamp"] == {"sec": 1, "nanosec": 100_000_000}
            peer("subscribe", topic="/watch/_action/status", type="action_msgs/GoalStatusArray", latched=True)
    finally:
        server.stop()
        watching.close()
        rig.start()


def test_dora_moves_an_arm(rig, prefix) -> None:
    """A standard type; dora fills in what the goal leaves out."""
    positions: list[Any] = []
    rig.board.listen("/arm/joint_command", lambda _, m: positions.append(m["points"][0]["positions"]))
    with raw(rig) as session:
        points = [
            messages.empty(standard.POINT) | {"positions": np.array(p, float), "time_from_start": standard.time_of(t)}
            for p, t in (([0, 0], 0), ([1, -2], 300_000_000))
        ]
        goal = messages.empty(f"{KIND}_Goal")
        goal["trajectory"] |= {"joint_names": ["a", "b"], "points": points}
        request = {"goal_id": {"uuid": np.arange(16, dtype=np.uint8)}, "goal": goal}
        assert ask(rig, session, "/arm/follow_joint_trajectory/_action/send_goal", f"{KIND}_SendGoal", request)["accepted"]
        found = ask(
            rig, session, "/arm/follow_joint_trajectory/_action/get_result", f"{KIND}_GetResult", {"goal_id": request["goal_id"]}
        )
    assert (found["status"], found["result"]["error_code"]) == (Status.SUCCEEDED, 0)
    assert np.array_equal(positions[-1], [1, -2])
    assert len(positions) > 10
    assert (np.diff(np.array(positions)[:, 0]) >= 0).all()


# --- the wire -------------------------------------------------------------------------------------------------------------------


@contextmanager
def raw(rig: Rig) -> Iterator[Any]:
    with zenoh.open(configured(connect=[rig.endpoint])) as session:
        yield session


def ask(rig: Rig, session: Any, name: str, kind: str, request: messages.Message) -> messages.Message:
    """Call a service as rmw_zenoh does."""
    told = Attachment(7, 1, bytes(range(16)))
    key = data_key(0, name, kind, rig.distribution)  # type: ignore[arg-type]
    payload = messages.pack(request, f"{kind}_Request")
    for _ in range(50):
        for reply in session.get(key, payload=payload, attachment=told.pack(), timeout=20):
            assert reply.ok is not None, reply.err.payload.to_string()
            found = Attachment.unpack(reply.ok.attachment.to_bytes())
            assert (found.sequence, found.gid) == (told.sequence, told.gid)
            return messages.unpack(reply.ok.payload.to_bytes(), f"{kind}_Response")
        time.sleep(0.05)  # it has not found the server yet
    raise AssertionError("nobody answers")


def goal_id(n: int) -> messages.Message:
    return {"uuid": np.frombuffer(n.to_bytes(16, "big"), np.uint8)}


def test_keys_and_tokens_are_those_of_rmw_zenoh() -> None:
    string = "RIHS01_df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18"
    assert data_key(0, "/chatter", "std_msgs/msg/String", "jazzy") == f"0/chatter/std_msgs::msg::dds_::String_/{string}"
    assert data_key(2, "/a/chatter", "std_msgs/msg/String", "humble").endswith(
        "2/a/chatter/std_msgs::msg::dds_::String_/TypeHashNotSupported"[2:]
    )
    node = Node(2, "aac3178e146ba6f1fc6e6a4085e77f21", "listener")
    assert node.token() == "@ros2_lv/2/aac3178e146ba6f1fc6e6a4085e77f21/0/0/NN/%/%/listener"
    wanted = f"@ros2_lv/2/{node.session}/0/10/MS/%/%/listener/%chatter/std_msgs::msg::dds_::String_/{string}/::,10:,:,:,,"
    assert node.token_of(10, "MS", "/chatter", "std_msgs/msg/String", "jazzy", Qos(10)) == wanted
    assert str(Qos(1, latched=True)) == ":1:,1:,:,:,,"


def test_attachments_are_33_bytes() -> None:
    packed = Attachment(-(2**63), 2**63 - 1, bytes(range(16))).pack()
    assert Attachment.unpack(packed) == Attachment(-(2**63), 2**63 - 1, bytes(range(16)))
    assert packed[16] == 16
    for bad in (packed[:-1], packed + b"x", packed[:16] + b"\x0f" + packed[17:], b""):
        with pytest.raises(InputError, match="attachment"):
            Attachment.unpack(bad)


def test_who_comes_late_hears_the_statuses(rig) -> None:
    from zenoh.ext import HistoryConfig, declare_advanced_subscriber

    with raw(rig) as session:
        assert ask(rig, session, "/count/_action/send_goal", SEND, {"goal_id": goal_id(5), "goal": messages.empty(f"{ACT}_Goal")})[
            "accepted"
        ]
        until(lambda: rig.statuses() == [Status.SUCCEEDED])
        key, heard = data_key(0, "/count/_action/status", "action_msgs/msg/GoalStatusArray", "jazzy"), []
        subscriber = declare_advanced_subscriber(
            session, key, lambda sample: heard.append(sample.payload.to_bytes()), history=HistoryConfig(detect_late_publishers=True)
        )
        last = messages.unpack(until(lambda: heard)[-1], "action_msgs/msg/GoalStatusArray")
        assert [s["status"] for s in last["status_list"]] == [Status.SUCCEEDED]
        subscriber.undeclare()


def test_results_wait_and_are_told_of_unknown_goals(rig) -> None:
    with raw(rig) as session:
        goal = messages.empty(f"{ACT}_Goal") | {"max_steps": 20}
        asked = {"goal_id": goal_id(1), "goal": goal}
        assert ask(rig, session, "/count/_action/send_goal", SEND, asked)["accepted"]
        assert not ask(rig, session, "/count/_action/send_goal", SEND, asked)["accepted"]  # the same id
        begin = time.monotonic()
        found = ask(rig, session, "/count/_action/get_result", RESULT, {"goal_id": goal_id(1)})
        assert (found["status"], found["result"]["steps"]) == (Status.SUCCEEDED, 20)
        assert time.monotonic() - begin > 0.2
        assert ask(rig, session, "/count/_action/get_result", RESULT, {"goal_id": goal_id(2)})["status"] == Status.UNKNOWN


def test_a_slow_client_holds_up_nobody(rig) -> None:
    stuck = threading.Event()
    with raw(rig) as slow, raw(rig) as quick:
        key = data_key(0, "/count/_action/feedback", f"{ACT}_FeedbackMessage", "jazzy")
        subscriber = slow.declare_subscriber(key, lambda _: stuck.wait(30))
        for n in range(1, 11):
            goal = messages.empty(f"{ACT}_Goal") | {"max_steps": 200, "task": "burst"}
            begin = time.monotonic()
            assert ask(rig, quick, "/count/_action/send_goal", SEND, {"goal_id": goal_id(n), "goal": goal})["accepted"]
            found = ask(rig, quick, "/count/_action/get_result", RESULT, {"goal_id": goal_id(n)})
            assert found["result"]["steps"] == 200
            assert time.monotonic() - begin < 5
        stuck.set()
        subscriber.undeclare()


def test_requests_too_large_or_too_many_are_refused() -> None:
    with serving(most_bytes=1000, per_second=20) as rig, raw(rig) as session:
        goal = messages.empty(f"{ACT}_Goal")
        big = {"goal_id": goal_id(1), "goal": goal | {"task": "x" * 2000}}
        with pytest.raises(AssertionError, match="at most 1000"):
            ask(rig, session, "/count/_action/send_goal", SEND, big)
        with pytest.raises(AssertionError, match="requests a second"):
            [ask(rig, session, "/count/_action/get_result", RESULT, {"goal_id": goal_id(n)}) for n in range(100)]
        time.sleep(0.3)
        assert ask(rig, session, "/count/_action/send_goal", SEND, {"goal_id": goal_id(2), "goal": goal})["accepted"]


def test_hostile_frames() -> None:
    def memory() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    rng = random.Random(0)
    kinds = [("/count/_action/send_goal", SEND), ("/count/_action/get_result", RESULT)]
    kinds += [
        ("/count/_action/cancel_goal", "action_msgs/srv/CancelGoal"),
        ("/arm/follow_joint_trajectory/_action/send_goal", f"{KIND}_SendGoal"),
    ]
    attachment = Attachment(1, 1, bytes(16)).pack()
    with serving(per_second=1e9) as rig, raw(rig) as session:
        ask(rig, session, "/count/_action/get_result", RESULT, {"goal_id": goal_id(1)})
        topic = data_key(0, "/arm/joint_states", standard.STATE, "jazzy")
        joints = messages.pack(standard.joint_state([1.0, 2.0], 1, ["a", "b"]), standard.STATE)
        before = 0
        for n in range(HOSTILE):
            name, kind = kinds[n % len(kinds)]
            frame = bytearray(messages.pack(messages.empty(f"{kind}_Request"), f"{kind}_Request"))
            for _ in range(rng.randrange(1, 8)):
                frame[rng.randrange(len(frame))] = rng.choice([0, 1, 255, 128, rng.randrange(256)])
            payload = bytes(frame[: rng.randrange(len(frame) + 1)]) if n % 3 else rng.randbytes(rng.randrange(100))
            told = attachment if n % 5 else rng.randbytes(rng.randrange(40))
            if n % 2:
                broken = bytearray(joints)
                broken[rng.randrange(len(broken))] = rng.randrange(256)
                session.put(topic, bytes(broken[: rng.randrange(1, len(broken) + 1)]), attachment=told)
            key = data_key(0, name, kind, "jazzy")
            for reply in session.get(key, payload=payload, attachment=told, timeout=10):
                error = reply.err
                assert error is None or b"internal" not in error.payload.to_bytes(), error.payload.to_string()
            if n == HOSTILE // 4:
                before = memory()
        everything = messages.empty("action_msgs/srv/CancelGoal_Request")  # some asked to count far
        ask(rig, session, "/count/_action/cancel_goal", "action_msgs/srv/CancelGoal", everything)
        until(lambda: all(s.terminal for s in rig.statuses()))
        goal = {"goal_id": goal_id(12345), "goal": messages.empty(f"{ACT}_Goal") | {"max_steps": 2, "task": "burst"}}
        until(lambda: len(rig.statuses()) < 200, 20)
        assert ask(rig, session, "/count/_action/send_goal", SEND, goal)["accepted"]
        assert ask(rig, session, "/count/_action/get_result", RESULT, {"goal_id": goal_id(12345)})["status"] == Status.SUCCEEDED
        assert memory() - before < 64 << 20
