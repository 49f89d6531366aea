"""A robot's end of rosbridge: topics and goals, for robots that are a program."""

from __future__ import annotations

import itertools
import json
import queue
import threading
from collections.abc import Callable
from typing import Any

from edge.core.errors import InputError, MissingExtraError
from robotics.action import messages
from robotics.action.goals import Status
from robotics.action.messages import Message

try:
    from websockets.exceptions import InvalidStatus, WebSocketException
    from websockets.sync.client import connect
except ImportError as e:
    raise MissingExtraError("websockets", "robot", "robots over rosbridge") from e

PATIENCE_S = 60.0


class Sent:
    """A goal that was sent. feedback: of it, as it comes."""

    def __init__(self, link: Link, action: str, kind: str, name: str) -> None:
        self._link, self.action, self.kind, self.name = link, action, kind, name
        self.feedback: list[Message] = []
        self._ended: queue.SimpleQueue[tuple[Status, Message | str]] = queue.SimpleQueue()
        self._result: tuple[Status, Message | str] | None = None

    def cancel(self) -> None:
        self._link.say(op="cancel_action_goal", id=self.name, action=self.action)

    @property
    def over(self) -> bool:
        return self._result is not None or not self._ended.empty()

    def result(self, timeout_s: float = PATIENCE_S) -> tuple[Status, Message]:
        """Raises InputError for a goal that was not taken, and where nothing comes."""
        if self._result is None:
            try:
                self._result = self._ended.get(timeout=timeout_s)
            except queue.Empty:
                raise InputError(f"{self.action}: no result for {timeout_s:g} s; look at the server's log") from None
        status, found = self._result
        if isinstance(found, str):
            raise InputError(f"{self.action}: {found}")
        return status, found


class Link:
    """A connection. What is heard comes in a thread of its own."""

    def __init__(self, url: str, key: str | None = None) -> None:
        """Raises InputError where nobody answers, or a key is asked for."""
        headers = {} if key is None else {"Authorization": f"Api-Key {key}"}
        try:
            self._socket = connect(url, compression=None, max_size=None, additional_headers=headers, close_timeout=2)
        except InvalidStatus as e:
            raise InputError(f"{url}: {e.response.body.decode(errors='replace').strip()}") from None
        except (OSError, WebSocketException) as e:
            raise InputError(f"{url}: cannot connect ({e}); start one with `edge act serve --transport rosbridge`") from None
        self._goals: dict[str, Sent] = {}
        self._topics: dict[str, tuple[str, Callable[[Message], None]]] = {}
        self._numbers = itertools.count(1)
        self.complaints: list[str] = []
        """What the server said of messages that it could not take."""
        threading.Thread(target=self._listen, name="link", daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def say(self, **fields: Any) -> None:
        self._socket.send(json.dumps(fields))

    def publish(self, topic: str, kind: str, message: Message) -> None:
        self.say(op="publish", topic=topic, msg=messages.show(message, kind))

    def subscribe(self, topic: str, kind: str, heard: Callable[[Message], None], depth: int = 1) -> None:
        self._topics[topic] = (kind, heard)
        self.say(op="subscribe", topic=topic, type=kind, queue_length=depth)

    def send(self, action: str, kind: str, goal: Message) -> Sent:
        sent = Sent(self, action, kind, f"goal {next(self._numbers)}")
        self._goals[sent.name] = sent
        fields = {"action": action, "action_type": kind, "args": messages.show(goal, f"{kind}_Goal"), "feedback": True}
        self.say(op="send_action_goal", id=sent.name, **fields)
        return sent

    def _listen(self) -> None:
        try:
            for text in self._socket:
                self._heard(json.loads(text))
        except WebSocketException:
            pass
        for sent in self._goals.values():
            sent._ended.put((Status.UNKNOWN, "the connection is lost"))

    def _heard(self, told: dict[str, Any]) -> None:
        if told["op"] == "publish" and told["topic"] in self._topics:
            kind, heard = self._topics[told["topic"]]
            heard(messages.read(told["msg"], kind))
        elif told["op"] == "action_feedback" and (sent := self._goals.get(told["id"])) is not None:
            sent.feedback.append(messages.read(told["values"], f"{sent.kind}_Feedback"))
        elif told["op"] == "action_result" and (sent := self._goals.pop(told["id"], None)) is not None:
            found = messages.read(told["values"], f"{sent.kind}_Result") if told["result"] else str(told["values"])
            sent._ended.put((Status(told["status"]), found))
        elif told["op"] == "status":
            self.complaints.append(told["msg"])
