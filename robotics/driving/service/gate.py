"""One request at the planner, one before it: the newest waits, older ones are told that they are superseded."""

from __future__ import annotations

import threading
import time
from typing import Literal

Turn = Literal["turn", "superseded", "late"]


class Gate:
    """Lets one request in at a time. Newest is what was sensed last; of requests sensed at the same time, what came last."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._inside: int | None = None
        self._waiting: tuple[int, object] | None = None

    def enter(self, stamp_ns: int, until: float) -> Turn:
        """Waits for its turn until monotonic time `until`. stamp_ns: when the request was sensed. After "turn" comes `leave`."""
        me = (stamp_ns, object())
        with self._change:
            if self._inside is None:
                self._inside = stamp_ns
                return "turn"
            if stamp_ns < self._inside or (self._waiting is not None and stamp_ns < self._waiting[0]):
                return "superseded"
            self._waiting = me
            self._change.notify_all()
            while self._waiting is me:
                if self._inside is None:
                    self._inside, self._waiting = stamp_ns, None
                    return "turn"
                if (left := until - time.monotonic()) <= 0:
                    self._waiting = None
                    return "late"
                self._change.wait(left)
            return "superseded"

    def leave(self) -> None:
        with self._change:
            self._inside = None
            self._change.notify_all()
