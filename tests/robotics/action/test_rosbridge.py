"""The rosbridge server: stock clients in Python and JavaScript, several at once, slow and lost ones, restarts, hostile frames."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import resource
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("roslibpy")
pytest.importorskip("websockets")

import roslibpy
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from robotics.action import standard
from robotics.action.executive import Executive
from robotics.action.goals import Status
from robotics.action.outbox import Outbox
from robotics.action.rosbridge.server import RosbridgeServer
from robotics.action.topics import Board
from tests.robotics.action.rig import ACT, Counting, looping, until

JS = Path(__file__).with_name("js")
HOSTILE = 300 if os.environ.get("EDGE_CASES") == "small" else 10_000


class Rig:
    """A server of one action, `/count`, that can be stopped and started on the same port."""

    def __init__(self, run: Any, **options: Any) -> None:
        self._run, self._options = run, options
        self.board = Board()
        self.port = 0
        self.start()

    def start(self) -> None:
        async def begin() -> RosbridgeServer:
            server = RosbridgeServer([self.executive], self.board, **self._options)
            await server.start("127.0.0.1", self.port)
            return server

        self.executive = Executive("/count", Counting(), self.board)
        self.server = self._run(begin())
        self.port = self.server.port

    def stop(self) -> None:
        self._run(self.server.stop())
        self.executive.close()


@contextmanager
def serving(**options: Any) -> Iterator[Rig]:
    with looping() as run:
        rig = Rig(run, **options)
        try:
            yield rig
        finally:
            rig.stop()


@pytest.fixture
def rig() -> Iterator[Rig]:
    with serving() as rig:
        yield rig


class Told:
    """What a goal of roslibpy was answered."""

    def __init__(self, client: Any, goal: dict[str, Any]) -> None:
        self.client, self.feedback, self.result, self.error = client, [], None, None
        self.id = client.send_goal(roslibpy.Goal(goal), self._result, self.feedback.append, self._error)

    def _result(self, found: Any) -> None:
        self.result = dict(found)

    def _error(self, found: Any) -> None:
        self.error = dict(found)

    def wait(self) -> Told:
        self.client.wait_goal(self.id, 10)
        until(lambda: self.result or self.error)
        return self

    @property
    def status(self) -> int:
        assert self.result is not None, self.error
        return self.result["status"].value


@contextmanager
def client(rig: Rig) -> Iterator[Any]:
    ros = roslibpy.Ros("127.0.0.1", rig.port)
    ros.run(timeout=10)
    try:
        yield roslibpy.ActionClient(ros, "/count", ACT)
    finally:
        ros.close()


@contextmanager
def raw(rig: Rig, query: str = "", **options: Any) -> Iterator[Any]:
    with connect(f"ws://127.0.0.1:{rig.port}/{query}", compression=None, max_size=None, close_timeout=2, **options) as socket:
        yield socket


def say(socket: Any, **fields: Any) -> None:
    socket.send(json.dumps(fields))


def hear(socket: Any) -> dict[str, Any]:
    return json.loads(socket.recv(timeout=10))


def one_goal(rig: Rig) -> None:
    """The server still serves."""
    with raw(rig) as socket:
        say(socket, op="send_action_goal", id="g", action="/count", action_type=ACT, args={"task": "burst", "max_steps": 3})
        assert hear(socket)["values"]["steps"] == 3


# --- stock clients --------------------------------------------------------------------------------------------------------------


def test_roslibpy(rig) -> None:
    with client(rig) as count:
        done = Told(count, {"max_steps": 5}).wait()
        assert (done.status, done.result["values"]) == (4, {"success": True, "steps": 5, "message": "counted"})
        assert [f["step"] for f in done.feedback] == [1, 2, 3, 4, 5]

        cancelled = Told(count, {"max_steps": 5000})
        until(lambda: len(cancelled.feedback) >= 3)
        count.cancel_goal(cancelled.id)
        cancelled.wait()
        assert cancelled.status == 5
        assert cancelled.result["values"]["steps"] < 5000

        assert Told(count, {"max_steps": 3, "task": "fail"}).wait().status == 6
        refused = Told(count, {"task": "refuse"}).wait()
        assert refused.error is not None
        assert refused.error["values"] == "this one is not taken"
        assert "no such field" in Told(count, {"speed": 1}).wait().error["values"]


def test_two_roslibpy_clients_have_their_own_answers(rig) -> None:
    with client(rig) as a, client(rig) as b:
        first = Told(a, {"max_steps": 5000})
        until(lambda: first.feedback)
        second = Told(b, {"max_steps": 4}).wait()  # the newer goal supersedes the one that runs
        assert second.status == 4
        assert [f["step"] for f in second.feedback] == [1, 2, 3, 4]
        first.wait()
        assert first.status == 6
        assert "superseded" in first.result["values"]["message"]


def test_a_restarted_server_serves_the_clients_that_come_back(rig) -> None:
    with client(rig) as count:
        assert Told(count, {"max_steps": 2}).wait().status == 4
        rig.stop()
        until(lambda: not count.ros.is_connected)
        rig.start()
        until(lambda: count.ros.is_connected, 30)  # by roslibpy's own reconnecting
        assert Told(count, {"max_steps": 2}).wait().status == 4


def test_roslib_in_node(rig) -> None:
    if shutil.which("node") is None or not (JS / "node_modules" / "roslib").exists():
        pytest.skip("NO ROSLIB: install Node, then `make tests/robotics/action/js/node_modules/.installed`")
    done = subprocess.run(
        ["node", "client.mjs", f"ws://127.0.0.1:{rig.port}", ACT], cwd=JS, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["done"] == {"result": {"success": True, "steps": 5, "message": "counted"}, "feedback": [1, 2, 3, 4, 5]}
    assert "canceled" in told["cancelled"]["error"]
    assert len(told["cancelled"]["feedback"]) < 20
    assert "this one is not taken" in told["refused"]["error"]
    assert "aborted" in told["aborted"]["error"]
    assert "max_steps: must be a whole number" in told["wrong"]["error"]
    assert "canceled" in told["all"]["error"]
    assert told["actions"]["action_servers"] == ["/count"]
    assert told["echo"] == "grüß dich"


# --- the protocol ---------------------------------------------------------------------------------------------------------------


def test_a_cancel_is_heard_while_its_goal_runs_and_may_come_too_late(rig) -> None:
    with raw(rig) as socket:
        say(socket, op="send_action_goal", id="g", action="/count", args={"max_steps": 5000}, feedback=True)
        assert hear(socket)["op"] == "action_feedback"
        begin = time.monotonic()
        say(socket, op="cancel_action_goal", id="g", action="/count")
        while (told := hear(socket))["op"] == "action_feedback":
            pass
        assert (told["op"], told["status"], told["result"]) == ("action_result", 5, True)
        assert time.monotonic() - begin < 1
        say(socket, op="cancel_action_goal", id="g", action="/count")
        assert (told := hear(socket))["op"] == "status"
        assert told["id"] == "g"
        say(socket, op="send_action_goal", id="g", action="/count", args={"task": "stay", "max_steps": 5000}, feedback=True)
        hear(socket)
        say(socket, op="cancel_action_goal", id="g", action="/count")
        while (told := hear(socket))["op"] == "action_feedback":
            pass
        assert told["status"] == 4  # ROS 2 allows a goal to succeed while it is canceling


def test_topics_are_typed_throttled_and_latched_where_ros_latches(rig) -> None:
    with raw(rig) as a, raw(rig) as b:
        say(b, op="subscribe", id="s", topic="/said", type="std_msgs/String")
        say(b, op="subscribe", id="again", topic="/said")
        say(b, op="subscribe", topic="/count/_action/status")
        say(a, op="advertise", topic="/said", type="std_msgs/msg/String")
        say(a, op="call_service", id="c", service="/rosapi/topic_type", args={"topic": "/said"})
        assert hear(a) == {
            "op": "service_response",
            "service": "/rosapi/topic_type",
            "id": "c",
            "values": {"type": "std_msgs/msg/String"},
            "result": True,
        }
        say(a, op="publish", topic="/said", msg={"data": "once"})
        assert hear(b) == {"op": "publish", "topic": "/said", "msg": {"data": "once"}}
        say(b, op="unsubscribe", id="s", topic="/said")
        say(b, op="subscribe", id="again", topic="/said", throttle_rate=60_000)
        say(b, op="call_service", service="/rosapi/get_time")
        assert hear(b)["values"]["time"]["sec"] > 1_700_000_000
        for n in range(5):
            say(a, op="publish", topic="/said", msg={"data": str(n)})
        assert hear(b)["msg"] == {"data": "0"}  # once a minute
        for wrong in ({"data": 3}, {"text": "x"}, {"data": "\ud800"}, []):
            say(a, op="publish", topic="/said", id="w", msg=wrong)
        found = [hear(a) for _ in range(3)]  # an empty list is no fields at all
        assert all(f["op"] == "status" and f["level"] == "error" and f["id"] == "w" and "\n" not in f["msg"] for f in found)
        say(a, op="send_action_goal", id="g", action="/count", args={"task": "burst", "max_steps": 1})
        assert hear(a)["status"] == 4
        assert hear(b)["topic"] == "/count/_action/status"
        with raw(rig) as late:
            say(late, op="subscribe", topic="/count/_action/status")
            assert hear(late)["msg"]["status_list"][-1]["status"] == Status.SUCCEEDED


def test_pictures_cross_as_base64(rig) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    rig.board.declare("/image", standard.IMAGE)
    with raw(rig) as socket:
        fields = {"height": 8, "width": 6, "step": 18, "encoding": "rgb8", "data": base64.b64encode(picture.tobytes()).decode()}
        say(socket, op="publish", topic="/image", msg=fields)
        found = until(lambda: rig.board.newest("/image"))
        assert np.array_equal(standard.picture(found.message), picture)
        say(socket, op="subscribe", topic="/image")
        say(socket, op="publish", topic="/image", msg=fields | {"data": picture.reshape(-1).tolist()})
        assert hear(socket)["msg"]["data"] == fields["data"]


def test_goals_by_time_and_all_are_cancelled_by_the_service(rig) -> None:
    with raw(rig) as socket:
        say(socket, op="send_action_goal", id="g", action="/count", args={"max_steps": 5000}, feedback=True)
        hear(socket)
        (goal_id, stamp, _), *_ = rig.executive.statuses()
        early = {"stamp": standard.time_of(stamp - 1)}
        assert call(rig, {"goal_info": early}) == {"return_code": 0, "goals_canceling": []}
        both = call(rig, {"goal_info": early | {"goal_id": {"uuid": base64.b64encode(goal_id).decode()}}})
        assert [base64.b64decode(g["goal_id"]["uuid"]) for g in both["goals_canceling"]] == [goal_id]
        while (told := hear(socket))["op"] == "action_feedback":
            pass
        assert told["status"] == 5
        assert call(rig, {})["goals_canceling"] == []


def call(rig: Rig, args: dict[str, Any]) -> Any:
    with raw(rig) as socket:
        say(socket, op="call_service", service="/count/_action/cancel_goal", args=args)
        return hear(socket)["values"]


def test_a_key_is_asked_for() -> None:
    with serving(key="secret") as rig:
        for headers in ({}, {"Authorization": "Api-Key wrong"}):
            with pytest.raises(InvalidStatus, match="401"), raw(rig, additional_headers=headers):
                pass
        with raw(rig, additional_headers={"Authorization": "Bearer secret"}) as socket:
            say(socket, op="call_service", service="/rosapi/action_servers")
            assert hear(socket)["result"]
        with raw(rig, "?key=secret") as socket:  # a browser cannot set headers
            say(socket, op="call_service", service="/rosapi/services")
            assert "/count/_action/cancel_goal" in hear(socket)["values"]["services"]


def test_too_many_clients_are_told_so() -> None:
    with serving(most_connections=2) as rig, raw(rig), raw(rig), pytest.raises(InvalidStatus, match="503"), raw(rig):
        pass


def test_a_fast_client_is_slowed_down_and_loses_nothing() -> None:
    with serving(per_second=50) as rig, raw(rig) as socket:
        begin = time.monotonic()
        for n in range(100):
            say(socket, op="call_service", id=str(n), service="/rosapi/get_time")
        assert [hear(socket)["id"] for _ in range(100)] == [str(n) for n in range(100)]
        assert 0.8 < time.monotonic() - begin < 5


# --- what it bears --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cancels", [False, True])
def test_goals_of_a_client_that_goes_away(cancels: bool) -> None:
    with serving(cancels_lost=cancels) as rig:
        socket = connect(f"ws://127.0.0.1:{rig.port}", compression=None)
        say(socket, op="send_action_goal", id="g", action="/count", args={"max_steps": 25}, feedback=True)
        hear(socket)
        socket.socket.close()  # no goodbye
        wanted = Status.CANCELED if cancels else Status.SUCCEEDED
        assert until(lambda: [s for _, _, s in rig.executive.statuses() if s.terminal]) == [wanted]
        one_goal(rig)


def test_a_slow_client_gets_the_newest_and_holds_up_nobody(rig) -> None:
    rig.board.declare("/big", "std_msgs/msg/String")
    with raw(rig) as slow, raw(rig) as quick:
        say(slow, op="subscribe", topic="/big")
        say(slow, op="call_service", service="/rosapi/get_time")
        hear(slow)
        text = "x" * 1_000_000
        for n in range(100):  # it reads none of them, and 100 MB wait nowhere
            rig.board.put("/big", {"data": f"{n} {text}"})
            if n % 10 == 0:
                say(quick, op="call_service", id=str(n), service="/rosapi/get_time")
                assert hear(quick)["id"] == str(n)
        found = []
        while not found or found[-1] != "99":
            found.append(hear(slow)["msg"]["data"].split(" ")[0])
        assert len(found) < 50
        assert found == sorted(found, key=int)


def test_what_waits_for_a_slow_client_is_bounded() -> None:
    async def run() -> None:
        box = Outbox(most_bytes=100)
        for n in range(20):
            assert box.put(f"feedback {n}", "f", depth=3)
        assert box.put("result")
        assert [await box.get() for _ in range(4)] == ["feedback 17", "feedback 18", "feedback 19", "result"]
        assert box.dropped == 17
        assert not box.put("y" * 101)

    asyncio.run(run())


def frames(count: int) -> Iterator[str | bytes]:
    """Broken and odd ones: every operation with every kind of value, and cut or changed bytes of good ones."""
    rng = random.Random(0)
    odd = [None, True, -1, 1e308, 10**400, "", "x" * 2000, "\ud800", [], [[[]]], {}, {"data": {}}, {"goal_info": 3}, "/count", ACT]
    operations = ["send_action_goal", "cancel_action_goal", "advertise", "publish", "subscribe", "unsubscribe", "call_service"]
    operations += ["set_level", "fragment", "png", "auth", "advertise_service", 3, None]
    fields = ["id", "action", "action_type", "args", "topic", "type", "msg", "service", "level", "throttle_rate", "compression"]
    good = json.dumps({"op": "send_action_goal", "id": "g", "action": "/count", "action_type": ACT, "args": {"max_steps": 2}})
    for n in range(count):
        if n % 3 == 0:
            asked = {"op": rng.choice(operations)} | {f: rng.choice(odd) for f in rng.sample(fields, rng.randrange(len(fields)))}
            yield json.dumps(asked)
        elif n % 3 == 1:
            broken = list(good)
            for _ in range(rng.randrange(1, 5)):
                broken[rng.randrange(len(broken))] = chr(rng.choice([*range(32, 127), 0, 233, 0x1F600]))
            yield "".join(broken)[: rng.randrange(1, len(good) + 1)]
        else:
            yield rng.choice(
                ["[" * 100_000, '{"op":' * 5000, "9" * 5000, "NaN", '"', "\x00", "{}", "[]", b"\x00\xff", good.encode()]
            )


def test_hostile_frames(rig) -> None:
    def memory() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    before = 0
    with raw(rig) as socket:
        reader = threading.Thread(target=lambda: [None for _ in socket], daemon=True)
        reader.start()
        for n, frame in enumerate(frames(HOSTILE)):
            socket.send(frame)
            if n == HOSTILE // 4:
                before = memory()
        until(lambda: not [s for _, _, s in rig.executive.statuses() if not s.terminal])
        one_goal(rig)
    assert memory() - before < 64 << 20
    one_goal(rig)


def test_bad_frames_of_the_websocket_itself_close_their_connection_alone(rig) -> None:
    with raw(rig) as other:
        with raw(rig) as socket:
            socket.socket.sendall(b"\xff\xff\xff\xff" + bytes(100))  # reserved bits, unknown opcode
            with pytest.raises(ConnectionClosed):
                socket.recv(timeout=10)
        say(other, op="call_service", service="/rosapi/get_time")
        assert hear(other)["result"]
