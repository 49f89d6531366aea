"""One connection: what it asks, and what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from edge.core.errors import EdgeError, UnknownNameError
from robotics.action import services
from robotics.action.outbox import Outbox
from robotics.action.rosbridge.fields import Asked, parsed
from robotics.action.rosbridge.goals import ClientGoals
from robotics.action.rosbridge.topics import ClientTopics

if TYPE_CHECKING:
    from robotics.action.rosbridge.server import RosbridgeServer

LOG = logging.getLogger(__name__)
LEVELS = ("none", "error", "warning", "info")


class Client:
    """All of it happens in the server's loop; `later` brings something there from another thread."""

    def __init__(self, server: RosbridgeServer, loop: asyncio.AbstractEventLoop) -> None:
        self.server, self._loop = server, loop
        self.outbox, self.behind = Outbox(), False
        self.goals, self.topics = ClientGoals(self), ClientTopics(self, server.board)
        self._level = LEVELS.index("error")
        self._gone = False
        self._operations: Mapping[str, Callable[[Asked], None]] = {
            "send_action_goal": self.goals.send,
            "cancel_action_goal": self.goals.cancel,
            "advertise": self.topics.advertise,
            "unadvertise": lambda _: None,
            "publish": self.topics.publish,
            "subscribe": self.topics.subscribe,
            "unsubscribe": self.topics.unsubscribe,
            "call_service": self._call_service,
            "set_level": self._set_level,
        }

    def heard(self, message: str | bytes) -> None:
        """One message of the client."""
        asked: Asked = {}
        try:
            asked = parsed(message)
            operation = asked.get("op")
            if not isinstance(operation, str) or operation not in self._operations:
                raise UnknownNameError("op", str(operation)[:40], sorted(self._operations))
            self._operations[operation](asked)
        except EdgeError as e:
            self._status("error", str(e), asked.get("id"))
        except Exception as e:  # a bug of ours; its client is told, and everybody else goes on
            LOG.exception("a message failed")
            self._status("error", f"internal error: {type(e).__name__}; the server's log has more", asked.get("id"))

    def gone(self) -> None:
        self._gone = True
        self.topics.end()
        self.goals.end(self.server.cancels_lost)

    def later(self, what: Callable[[Client], None]) -> None:
        """In the loop, if there is still one."""
        if not self._gone:
            with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
                self._loop.call_soon_threadsafe(self._now, what)

    def tell(self, told: Mapping[str, Any], key: str | None = None, depth: int = 1) -> None:
        """Of what has a key, the newest `depth` wait for a client that reads slowly."""
        if not self.outbox.put(json.dumps(told, allow_nan=False), key, depth):
            self.behind = True

    def _now(self, what: Callable[[Client], None]) -> None:
        if not self._gone:
            what(self)

    def _call_service(self, asked: Asked) -> None:
        name = asked.get("service")
        told = {"op": "service_response", "service": str(name)[:200]} | ({"id": asked["id"]} if "id" in asked else {})
        try:
            values: Any = services.call(self.server.services, name, asked.get("args") or {})
        except EdgeError as e:
            self.tell(told | {"values": str(e), "result": False})
        else:
            self.tell(told | {"values": values, "result": True})

    def _set_level(self, asked: Asked) -> None:
        level = asked.get("level")
        if level not in LEVELS:
            raise UnknownNameError("level", str(level)[:20], LEVELS)
        self._level = LEVELS.index(level)

    def _status(self, level: str, said: str, name: Any) -> None:
        if LEVELS.index(level) <= self._level:
            self.tell({"op": "status", "level": level, "msg": said} | ({"id": name} if isinstance(name, str) else {}))
