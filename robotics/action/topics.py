"""Topics: what robots tell, of which the newest message counts, and what they are told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

from edge.core.errors import InputError, UnknownNameError
from robotics.action.messages import Message

T = TypeVar("T")
MOST_TOPICS = 256
"""A client that advertises without end is told so."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message that came. number: from 1, of its topic; when: monotonic seconds."""

    message: Message
    number: int
    when: float


Listener = Callable[[str, Message], None]


class Board:
    """Named topics of one type each. Any thread may put, wait and listen."""

    def __init__(self) -> None:
        self._types: dict[str, str] = {}
        self._newest: dict[str, Arrival] = {}
        self._listeners: dict[str, list[Listener]] = {}
        self._change = threading.Lock()
        self._waiters: dict[threading.Condition, Collection[str]] = {}
        """Who waits, and for which topics: nobody else is woken."""

    def declare(self, name: str, kind: str) -> None:
        """Raises InputError for a name that is none, a topic of another type, and one topic too many."""
        if (
            not name.startswith("/")
            or len(name) > 200
            or not name.isascii()
            or not name.replace("_", "").replace("/", "").isalnum()
        ):
            raise InputError(f"topic {ascii(name)[:60]}: a name is / and letters, digits, _ and /, at most 200 of them")
        with self._change:
            if self._types.get(name, kind) != kind:
                raise InputError(f"topic {name}: has type {self._types[name]}: got {kind}")
            if name not in self._types and len(self._types) >= MOST_TOPICS:
                raise InputError(f"topic {name}: there are {MOST_TOPICS} topics already; use one of these")
            self._types[name] = kind

    def topics(self) -> dict[str, str]:
        """Name and type of each."""
        with self._change:
            return dict(self._types)

    def kind(self, name: str) -> str:
        """The type of a topic. Raises UnknownNameError."""
        if name not in self._types:
            raise UnknownNameError("topic", name, sorted(self._types))
        return self._types[name]

    def put(self, name: str, message: Message) -> None:
        """A message comes or goes out. Raises UnknownNameError for a topic that nobody declared."""
        self.kind(name)
        with self._change:
            before = self._newest.get(name)
            self._newest[name] = Arrival(message, 1 + (before.number if before else 0), time.monotonic())
            listeners = tuple(self._listeners.get(name, ()))
            for waiter, topics in self._waiters.items():
                if name in topics:
                    waiter.notify()
        for listener in listeners:
            listener(name, message)

    def newest(self, name: str) -> Arrival | None:
        return self._newest.get(name)

    def wait(
        self, topics: Collection[str], ready: Callable[[], T | None], timeout_s: float | None, stop: Callable[[], bool]
    ) -> T | None:
        """What `ready` finds, once it finds something: it is asked whenever a message of these topics has come. None: stopped, or
        too late.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        waiter = threading.Condition(self._change)
        with self._change:
            self._waiters[waiter] = topics
            try:
                while not stop():
                    if (found := ready()) is not None:
                        return found
                    left = None if until is None else until - time.monotonic()
                    if left is not None and left <= 0:
                        return None
                    waiter.wait(left)
            finally:
                del self._waiters[waiter]
        return None

    def wake(self) -> None:
        """Those who wait look whether they are to stop."""
        with self._change:
            for waiter in self._waiters:
                waiter.notify()

    def listen(self, name: str, listener: Listener) -> Callable[[], None]:
        """Be called with every message of a topic, in the thread that puts it; returns what ends that."""
        with self._change:
            self._listeners.setdefault(name, []).append(listener)

        def end() -> None:
            with self._change:
                if listener in self._listeners.get(name, ()):
                    self._listeners[name].remove(listener)

        return end
