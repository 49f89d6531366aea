"""A planner in a thread of this process: where one engine serves plans and other requests alike.

Python's threads take turns. Whoever serves this way lets them turn often (`sys.setswitchinterval`), and has no help against a
planner that never returns to Python; `ProcessBackend` has.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from concurrent.futures import Future, InvalidStateError

from robotics.driving.safety.proposal import Proposal
from robotics.driving.service.proposing import Interrupted, PlannerDown, Propose
from robotics.driving.service.request import PlanRequest

GRACE_S = 1.0
"""A planner that goes on for longer than this after it was given up is down until it comes back."""


class ThreadBackend:
    """Runs `propose` in one thread, a request at a time."""

    def __init__(self, propose: Propose) -> None:
        self._propose = propose
        self._jobs: queue.SimpleQueue[tuple[PlanRequest, float | None, Future[Proposal]] | None] = queue.SimpleQueue()
        self._given_up: float | None = None
        self._thread = threading.Thread(target=self._run, name="planner", daemon=True)
        self._thread.start()

    def submit(self, request: PlanRequest, left_ms: float | None) -> Future[Proposal]:
        future: Future[Proposal] = Future()
        given_up = self._given_up
        if given_up is not None and time.monotonic() - given_up > GRACE_S:
            future.set_exception(PlannerDown())
            return future
        until = None if left_ms is None else time.monotonic() + left_ms / 1e3
        self._jobs.put((request, until, future))
        return future

    def close(self) -> None:
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            request, until, future = job
            if future.cancelled():
                continue
            future.add_done_callback(self._ended)
            left = None if until is None else max(0.0, (until - time.monotonic()) * 1e3)
            try:
                found = self._propose(request, left, lambda future=future: _check(future))
            except BaseException as e:
                with contextlib.suppress(InvalidStateError):
                    future.set_exception(e)
            else:
                with contextlib.suppress(InvalidStateError):
                    future.set_result(found)
            self._given_up = None

    def _ended(self, future: Future[Proposal]) -> None:
        if future.cancelled():
            self._given_up = time.monotonic()


def _check(future: Future[Proposal]) -> None:
    if future.cancelled():
        raise Interrupted
