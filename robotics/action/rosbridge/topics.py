"""The topics of one client: what it tells, and what it wants to be told."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.core.errors import InputError
from robotics.action import messages
from robotics.action.rosbridge.fields import Asked, number, text, whole_kind
from robotics.action.topics import Board

if TYPE_CHECKING:
    from robotics.action.rosbridge.client import Client

MOST_QUEUED = 100
"""Messages of a topic that may wait for a client that asks for more."""
MOST_SUBSCRIPTIONS = 256
LATCHED = "/_action/status"
"""Topics whose newest message is told to whoever comes later: transient local, as ROS 2 has it."""


@dataclass(slots=True)
class _Subscription:
    end: Callable[[], None]
    every_s: float
    depth: int
    last: float = float("-inf")


class ClientTopics:
    """Subscriptions have ids, so that several parts of one client can have their own; each message is sent once for all of them."""

    def __init__(self, client: Client, board: Board) -> None:
        self._client, self._board = client, board
        self._subscriptions: dict[tuple[str, str], _Subscription] = {}

    def advertise(self, asked: Asked) -> None:
        self._declare(text(asked, "topic"), text(asked, "type"))

    def publish(self, asked: Asked) -> None:
        topic = text(asked, "topic")
        if "type" in asked:
            self._declare(topic, text(asked, "type"))
        self._board.put(topic, messages.read(asked.get("msg") or {}, self._board.kind(topic)))

    def subscribe(self, asked: Asked) -> None:
        topic = text(asked, "topic")
        if asked.get("type"):
            self._declare(topic, text(asked, "type"))
        kind = self._board.kind(topic)
        if asked.get("compression") not in ("none", None):
            raise InputError(f"compression {str(asked['compression'])[:20]!r}: only none; let the websocket compress")
        every_s, depth = number(asked, "throttle_rate") / 1000, int(min(max(number(asked, "queue_length"), 1), MOST_QUEUED))
        name = (topic, str(asked.get("id", ""))[:200])
        if name not in self._subscriptions and len(self._subscriptions) >= MOST_SUBSCRIPTIONS:
            raise InputError(f"{topic}: you have {MOST_SUBSCRIPTIONS} subscriptions already; end some first")
        self._end(name)

        def listener(_: str, message: messages.Message) -> None:
            self._client.later(lambda _: self._tell(name, kind, message))

        self._subscriptions[name] = _Subscription(self._board.listen(topic, listener), every_s, depth)
        newest = self._board.newest(topic)
        if topic.endswith(LATCHED) and newest is not None:
            self._tell(name, kind, newest.message)

    def unsubscribe(self, asked: Asked) -> None:
        topic, which = text(asked, "topic"), asked.get("id")
        for name in [n for n in self._subscriptions if n[0] == topic and (which is None or n[1] == str(which)[:200])]:
            self._end(name)

    def end(self) -> None:
        """The client has gone."""
        for name in list(self._subscriptions):
            self._end(name)

    def _declare(self, topic: str, kind: str) -> None:
        kind = whole_kind(kind, "msg")
        messages.empty(kind)  # raises where nobody defined it
        self._board.declare(topic, kind)

    def _end(self, name: tuple[str, str]) -> None:
        if (s := self._subscriptions.pop(name, None)) is not None:
            s.end()

    def _tell(self, name: tuple[str, str], kind: str, message: messages.Message) -> None:
        s = self._subscriptions.get(name)
        if s is None or name != next(n for n in self._subscriptions if n[0] == name[0]):
            return
        if (now := time.monotonic()) - s.last < s.every_s:
            return
        s.last = now
        told = {"op": "publish", "topic": name[0], "msg": messages.show(message, kind)}
        self._client.tell(told, key=f"topic {name[0]}", depth=s.depth)
