"""How often the planner was too late of late: m of the last k, and it is not waited for any more."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future

from robotics.driving.safety.proposal import Proposal


class Misses:
    """Counts deadlines missed, and failures. most: so many of the last `of` make the planner unreliable."""

    def __init__(self, most: int = 3, of: int = 5) -> None:
        self._most, self._last = most, deque[bool](maxlen=of)
        self._lock = threading.Lock()

    def record(self, missed: bool) -> None:
        with self._lock:
            self._last.append(missed)

    @property
    def unreliable(self) -> bool:
        with self._lock:
            return sum(self._last) >= self._most


class Probe:
    """A request that the planner works on while others are answered without it, to see whether it is reliable again."""

    def __init__(self, misses: Misses) -> None:
        self._misses = misses
        self._lock = threading.Lock()
        self._future: Future[Proposal] | None = None
        self._until = 0.0

    def due(self, now: float) -> bool:
        """Whether the next may start. One that is over its time counts as missed and is interrupted."""
        with self._lock:
            future = self._future
            if future is None or future.done():
                return True
            if now < self._until:
                return False
            self._future = None
        future.cancel()
        return True

    def start(self, future: Future[Proposal], until: float) -> None:
        with self._lock:
            self._future, self._until = future, until
        future.add_done_callback(self._over)

    def _over(self, future: Future[Proposal]) -> None:
        self._misses.record(future.cancelled() or future.exception() is not None)
