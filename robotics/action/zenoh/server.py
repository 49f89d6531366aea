"""One node: the actions of executives, and the topics that their jobs read and write."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.core.errors import EdgeError, InputError, MissingExtraError
from robotics.action import messages, services, standard
from robotics.action.complaints import Complaints
from robotics.action.executive import Executive, now_ns
from robotics.action.goals import FeedbackNotice, Goal, Notice, ResultNotice, Status, StatusNotice
from robotics.action.messages import Message
from robotics.action.topics import Board
from robotics.action.websocket import MOST_BYTES, Pace
from robotics.action.zenoh.wire import GID_BYTES, Attachment, Distribution, Kind, Node, Qos, data_key

try:
    import zenoh
    from zenoh.ext import CacheConfig, declare_advanced_publisher
except ImportError as e:
    raise MissingExtraError("eclipse-zenoh", "robot", "ROS 2 over Zenoh") from e

LOG = logging.getLogger(__name__)
COMPLAINTS = Complaints(LOG)
STATUSES = "action_msgs/msg/GoalStatusArray"
PORT = 7447
"""Of Zenoh's routers, where ROS nodes look for one."""
MOST_PER_SECOND = 2000.0
"""Requests and messages of each key; what comes faster is refused, or lost as a slow subscriber loses it."""


@dataclass(slots=True)
class _Waiting:
    """A request for a result. Compared by itself: two requests of one client are two."""

    query: Any
    attachment: Attachment

    def __hash__(self) -> int:
        return id(self)


def configured(listen: str = f"tcp/127.0.0.1:{PORT}", connect: Sequence[str] = (), file: Path | None = None) -> Any:
    """Zenoh's configuration. Without an endpoint to connect to we are the router that ROS nodes look for; with one, its client.

    file: a configuration of Zenoh's own form in place of all that, for TLS and access control. Raises InputError for a bad one.
    """
    try:
        if file is not None:
            return zenoh.Config.from_file(str(file))
        config = zenoh.Config()
        config.insert_json5("mode", '"client"' if connect else '"router"')
        config.insert_json5("scouting/multicast/enabled", "false")
        if connect:
            config.insert_json5("connect/endpoints", str(list(connect)).replace("'", '"'))
        else:
            config.insert_json5("listen/endpoints", f'["{listen}"]')
        return config
    except (zenoh.ZError, ValueError) as e:
        raise InputError(f"zenoh: {' '.join(str(e).split())[:120]}; give an endpoint such as tcp/127.0.0.1:{PORT}") from None


class ZenohServer:
    """A node of ROS 2 with the actions of some executives."""

    def __init__(
        self,
        executives: Sequence[Executive],
        board: Board,
        *,
        name: str = "edge",
        domain: int = 0,
        distribution: Distribution = "jazzy",
        most_bytes: int = MOST_BYTES,
        per_second: float = MOST_PER_SECOND,
    ) -> None:
        self.executives, self.board = list(executives), board
        self._name, self._domain = name, domain
        self._distribution: Distribution = distribution
        self._most_bytes, self._per_second = most_bytes, per_second
        self._held: list[Any] = []
        self._ends: list[Callable[[], None]] = []
        self._number = 0

    def start(self, config: Any) -> None:
        """Raises InputError where Zenoh cannot be opened."""
        try:
            self._session = zenoh.open(config)
        except zenoh.ZError as e:
            raise InputError(f"zenoh: {' '.join(str(e).split())[:160]}; choose another endpoint") from None
        self._node = Node(self._domain, str(self._session.info.zid()), self._name)
        self._hold(self._session.liveliness().declare_token(self._node.token()))
        inputs = dict.fromkeys(topic for e in self.executives for topic in e.job.inputs)
        outputs = dict.fromkeys(topic for e in self.executives for topic in e.job.outputs)
        for topic in inputs:
            self._subscribe(topic, self.board.kind(topic))
        for topic in outputs:
            publish = self._publisher(topic, self.board.kind(topic), Qos())
            self._ends.append(self.board.listen(topic, lambda _, message, publish=publish: publish(message)))
        for e in self.executives:
            _Action(self, e).declare()

    def stop(self) -> None:
        for end in self._ends:
            end()
        for held in self._held:
            held.undeclare()
        self._session.close()

    # --- what a node has ----------------------------------------------------------------------------------------------------------

    def _hold(self, declared: Any) -> None:
        self._held.append(declared)

    def _key(self, what: Kind, name: str, kind: str, qos: Qos) -> str:
        """Says that there is such a thing; returns where its messages are."""
        self._number += 1
        token = self._node.token_of(self._number, what, name, kind, self._distribution, qos)
        self._hold(self._session.liveliness().declare_token(token))
        return data_key(self._domain, name, kind, self._distribution)

    def _publisher(self, name: str, kind: str, qos: Qos) -> Callable[[Message], None]:
        key = self._key("MP", name, kind, qos)
        if qos.latched:
            publisher = declare_advanced_publisher(
                self._session, key, cache=CacheConfig(max_samples=qos.depth), publisher_detection=True
            )
        else:
            publisher = self._session.declare_publisher(key)
        self._hold(publisher)
        gid, sequence, lock = os.urandom(GID_BYTES), 0, threading.Lock()

        def publish(message: Message) -> None:
            nonlocal sequence
            payload = messages.pack(message, kind)
            with lock:
                sequence += 1
                publisher.put(payload, attachment=Attachment(sequence, now_ns(), gid).pack())

        return publish

    def _subscribe(self, name: str, kind: str) -> None:
        key, pace = self._key("MS", name, kind, Qos()), Pace(self._per_second)

        def heard(sample: Any) -> None:
            if pace.wait_s() > 0:
                return
            try:
                self.board.put(name, messages.unpack(self._bytes(sample.payload), kind))
            except EdgeError as e:
                COMPLAINTS.say(name, str(e))
            except Exception:
                LOG.exception("a message of %s failed", name)

        self._hold(self._session.declare_subscriber(key, heard))

    def serve(self, name: str, kind: str, answer: Callable[[Message, Any, Attachment], None]) -> None:
        """A service. answer: is given the request, the query and its attachment, and replies, at once or later."""
        key, pace = self._key("SS", name, kind, Qos()), Pace(self._per_second)

        def asked(query: Any) -> None:
            try:
                if pace.wait_s() > 0:
                    raise InputError(f"{name}: more than {self._per_second:g} requests a second; ask again later")
                if query.payload is None or query.attachment is None:
                    raise InputError(f"{name}: a request has a payload and an attachment")
                attachment = Attachment.unpack(query.attachment.to_bytes())
                answer(messages.unpack(self._bytes(query.payload), f"{kind}_Request"), query, attachment)
            except EdgeError as e:
                query.reply_err(str(e).encode())
            except Exception as e:  # a bug of ours; its client is told, and everybody else goes on
                LOG.exception("a request of %s failed", name)
                query.reply_err(f"internal error: {type(e).__name__}".encode())

        self._hold(self._session.declare_queryable(key, asked, complete=True))

    def reply(self, query: Any, attachment: Attachment, response: Message, kind: str) -> None:
        """Answer a request with a message of a service's response."""
        told = Attachment(attachment.sequence, now_ns(), attachment.gid).pack()
        query.reply(query.key_expr, messages.pack(response, f"{kind}_Response"), attachment=told)

    def _bytes(self, payload: Any) -> bytes:
        if len(payload) > self._most_bytes:
            raise InputError(f"{len(payload)} bytes: a message has at most {self._most_bytes}")
        return payload.to_bytes()


class _Action:
    """The three services and two topics of an action."""

    def __init__(self, server: ZenohServer, executive: Executive) -> None:
        self._server, self._executive = server, executive
        self._send_kind, self._result_kind = f"{executive.kind}_SendGoal", f"{executive.kind}_GetResult"
        below = f"{executive.name}/_action"
        self._feedback = server._publisher(f"{below}/feedback", f"{executive.kind}_FeedbackMessage", Qos())
        self._status = server._publisher(f"{below}/status", STATUSES, Qos(depth=1, latched=True))
        self._below = below

    def declare(self) -> None:
        self._server._ends.append(self._executive.listen(self._hear))
        self._server.serve(f"{self._below}/send_goal", self._send_kind, self._send)
        self._server.serve(f"{self._below}/cancel_goal", services.CANCEL, self._cancel)
        self._server.serve(f"{self._below}/get_result", self._result_kind, self._get_result)
        self._status(services.status_array(self._executive))

    def _send(self, request: Message, query: Any, attachment: Attachment) -> None:
        def reply(goal: Goal | None, why: str) -> None:
            if goal is None:
                COMPLAINTS.say(self._executive.name, f"a goal is refused: {why}")
            stamp = standard.time_of(0 if goal is None else goal.stamp_ns)
            self._server.reply(query, attachment, {"accepted": goal is not None, "stamp": stamp}, self._send_kind)

        self._executive.send(bytes(request["goal_id"]["uuid"]), request["goal"], reply)

    def _cancel(self, request: Message, query: Any, attachment: Attachment) -> None:
        info = request["goal_info"]
        found = self._executive.cancel(bytes(info["goal_id"]["uuid"]), standard.ns_of(info["stamp"]))
        self._server.reply(query, attachment, services.cancelled(found), services.CANCEL)

    def _get_result(self, request: Message, query: Any, attachment: Attachment) -> None:
        self._executive.ask_result(bytes(request["goal_id"]["uuid"]), _Waiting(query, attachment))

    def _hear(self, notice: Notice) -> None:
        if isinstance(notice, StatusNotice):
            self._status(services.status_array(self._executive))
        elif isinstance(notice, FeedbackNotice):
            self._feedback({"goal_id": {"uuid": services.uuid_array(notice.id)}, "feedback": notice.value})
        elif isinstance(notice, ResultNotice) and isinstance(notice.request, _Waiting):
            waiting, kind = notice.request, self._executive.kind
            result = messages.empty(f"{kind}_Result") if notice.result is None else notice.result
            status = Status.UNKNOWN if notice.result is None else notice.status
            self._server.reply(waiting.query, waiting.attachment, {"status": int(status), "result": result}, self._result_kind)
