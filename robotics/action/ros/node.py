"""A node of rclpy with the actions of executives: the same goals as over Zenoh, by whatever middleware ROS 2 has been told to use.

rclpy keeps its own states of goals; ours are the ones that count, and what becomes of a goal here is told to rclpy when it ends.
Source: the interfaces of rclpy.action.ActionServer and rosidl_runtime_py. The package `edge_msgs` has to be built in the workspace.
"""

from __future__ import annotations

import array
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype

from edge.core.errors import EdgeError
from robotics.action.executive import Executive
from robotics.action.goals import FeedbackNotice, Goal, Notice, ResultNotice, Status
from robotics.action.interfaces import fields
from robotics.action.messages import NUMBERS, Message
from robotics.action.topics import Board


class NoRosError(EdgeError):
    """ROS 2 is not there."""


def _rclpy() -> Any:
    try:
        import rclpy  # pyright: ignore[reportMissingImports]
        import rclpy.action  # pyright: ignore[reportMissingImports]
        import rclpy.executors  # pyright: ignore[reportMissingImports]
        from rosidl_runtime_py import utilities  # pyright: ignore[reportMissingImports]
    except ImportError as e:
        raise NoRosError(
            f"transport rclpy: ROS 2 is not sourced here ({e}); run `source /opt/ros/DISTRO/setup.bash`, or choose zenoh"
        ) from None
    return rclpy, utilities


class RclpyServer:
    """A node that spins in threads of its own. Raises NoRosError."""

    def __init__(self, executives: Sequence[Executive], board: Board, name: str = "edge") -> None:
        self._rclpy, self._types = _rclpy()
        self.name = name
        self._rclpy.init(args=[])
        self._node = self._rclpy.create_node(name)
        for topic in dict.fromkeys(t for e in executives for t in e.job.inputs):
            self._subscribe(topic, board)
        for topic in dict.fromkeys(t for e in executives for t in e.job.outputs):
            self._publish(topic, board)
        self._servers = [_Server(self._rclpy, self._types, self._node, e) for e in executives]
        self._spinner = self._rclpy.executors.MultiThreadedExecutor()
        self._spinner.add_node(self._node)
        threading.Thread(target=self._spinner.spin, name="rclpy", daemon=True).start()

    def stop(self) -> None:
        self._spinner.shutdown()
        self._node.destroy_node()
        self._rclpy.try_shutdown()

    def _subscribe(self, topic: str, board: Board) -> None:
        kind = board.kind(topic)
        self._node.create_subscription(
            self._types.get_message(kind), topic, lambda found: board.put(topic, from_ros(found, kind)), 10
        )

    def _publish(self, topic: str, board: Board) -> None:
        kind = board.kind(topic)
        made = self._types.get_message(kind)
        publisher = self._node.create_publisher(made, topic, 10)
        board.listen(topic, lambda _, message: publisher.publish(to_ros(message, kind, made())))


class _Server:
    """One action."""

    def __init__(self, rclpy: Any, types: Any, node: Any, executive: Executive) -> None:
        self._executive, self._action, self._kind = executive, types.get_action(executive.kind), executive.kind
        self._answers = rclpy.action
        self._running: dict[bytes, tuple[Any, threading.Event, list[ResultNotice]]] = {}
        executive.listen(self._hear)
        self._server = rclpy.action.ActionServer(
            node,
            self._action,
            executive.name,
            execute_callback=self._execute,
            goal_callback=self._wanted,
            cancel_callback=self._cancel,
            callback_group=rclpy.callback_groups.ReentrantCallbackGroup(),
        )

    def _wanted(self, goal: Any) -> Any:
        refusal = self._executive.job.refusal(from_ros(goal, f"{self._kind}_Goal"))
        return self._answers.GoalResponse.REJECT if refusal else self._answers.GoalResponse.ACCEPT

    def _cancel(self, handle: Any) -> Any:
        found = self._executive.cancel(bytes(handle.goal_id.uuid), 0)
        return self._answers.CancelResponse.ACCEPT if found.goals else self._answers.CancelResponse.REJECT

    def _execute(self, handle: Any) -> Any:
        """In a thread of rclpy, until the goal has ended."""
        goal_id, ended, results = bytes(handle.goal_id.uuid), threading.Event(), list[ResultNotice]()
        self._running[goal_id] = handle, ended, results
        refused: list[str] = []

        def reply(accepted: Goal | None, why: str) -> None:
            if accepted is None:
                refused.append(why)

        self._executive.send(goal_id, from_ros(handle.request, f"{self._kind}_Goal"), reply)
        if refused:
            del self._running[goal_id]
            handle.abort()
            return self._action.Result()
        self._executive.ask_result(goal_id, self)
        ended.wait()
        del self._running[goal_id]
        notice = results[0]
        {Status.SUCCEEDED: handle.succeed, Status.CANCELED: handle.canceled}.get(notice.status, handle.abort)()
        return to_ros(notice.result, f"{self._kind}_Result", self._action.Result())

    def _hear(self, notice: Notice) -> None:
        if isinstance(notice, FeedbackNotice) and (found := self._running.get(notice.id)) is not None:
            found[0].publish_feedback(to_ros(notice.value, f"{self._kind}_Feedback", self._action.Feedback()))
        elif isinstance(notice, ResultNotice) and notice.request is self and (found := self._running.get(notice.id)) is not None:
            found[2].append(notice)
            found[1].set()


def from_ros(found: Any, kind: str) -> Message:
    """A message of rclpy as a dictionary."""
    return {name: _from(getattr(found, name), desc) for name, desc in fields(kind)}


def to_ros(message: Message, kind: str, into: Any) -> Any:
    """The other way: fills in `into`, a message of rclpy of that kind."""
    for name, desc in fields(kind):
        setattr(into, name, _to(message[name], desc, getattr(into, name)))
    return into


def _from(value: Any, desc: Any) -> Any:
    kind, rest = desc
    if kind == Nodetype.NAME:
        return from_ros(value, rest)
    if kind == Nodetype.BASE:
        return value
    inner = rest[0]
    if inner[0] == Nodetype.BASE and inner[1][0] in NUMBERS:
        return np.array(value, NUMBERS[inner[1][0]])
    return [_from(v, inner) for v in value]


def _to(value: Any, desc: Any, empty: Any) -> Any:
    kind, rest = desc
    if kind == Nodetype.NAME:
        return to_ros(value, rest, empty)
    if kind == Nodetype.BASE:
        return value
    inner = rest[0]
    if isinstance(value, np.ndarray):
        if isinstance(empty, array.array):  # without a detour over Python's numbers
            return array.array(empty.typecode, value.tobytes())
        return value if isinstance(empty, np.ndarray) else value.tolist()
    if inner[0] == Nodetype.NAME:
        import importlib

        package, kind_of, name = inner[1].split("/")
        made = getattr(importlib.import_module(f"{package}.{kind_of}"), name)
        return [to_ros(v, inner[1], made()) for v in value]
    return list(value)
